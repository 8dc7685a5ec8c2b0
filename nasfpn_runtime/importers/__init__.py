"""Checkpoints and settings of other implementations: read them as ours."""
