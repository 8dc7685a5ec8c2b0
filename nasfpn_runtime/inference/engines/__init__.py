"""Runtimes that a detector runs in, one module each."""
