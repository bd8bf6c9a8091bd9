"""Frames and captions in, features out: the Mug-STAN video encoder and everything that reads videos for it."""
