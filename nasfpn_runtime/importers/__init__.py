"""Checkpoints of other implementations: read their files, set our parameters."""

from nasfpn_runtime.importers.files import read_arrays
from nasfpn_runtime.importers.sources import SOURCES
from nasfpn_runtime.importers.state import Loaded, load_state

__all__ = ["SOURCES", "Loaded", "load_state", "read_arrays"]
