"""Benchmarks, for ``nasfpn bench``.

- ``step.py``: time of a training step.
- ``data.py``: images per second that are prepared for training.
- ``threads.py``: images per second of a detector that several threads call.
- ``parity.py``: differences of exported files from their checkpoints.
"""
