"""Benchmarks, for ``nasfpn bench``.

- ``step.py``: time of a training step.
- ``data.py``: images per second that are prepared for training.
- ``parity.py``: differences of exported files from their checkpoints.
"""
