"""Readers of file formats and the feature cache, shared by training and evaluation."""
