"""A folder in the place of object storage, with retries and checks that do not wait."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nasfpn_runtime.cluster.modelarts import obs, uploads
from obs_folder import Cloud


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Return an object storage that this process uses."""
    cloud = Cloud(tmp_path)
    monkeypatch.syspath_prepend(cloud.site)
    monkeypatch.delitem(sys.modules, "moxing", raising=False)
    monkeypatch.setattr(obs, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(uploads, "PERIOD", 0.02)
    return cloud
