"""Benchmarks: speed of a step and of the data pipeline, and the accuracy of exported files."""
