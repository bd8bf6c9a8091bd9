"""Readers of public benchmarks, one small file each: from their owners' files to items, and nothing about scores."""
