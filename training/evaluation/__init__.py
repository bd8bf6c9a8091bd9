"""Benchmarks and controls. A benchmark is one small file: how its rows are read, what is asked, how answers are scored."""
