"""Engines that run a detector, one module each."""
