"""Small COCO folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from coco_folder import write_pictures
from nasfpn_runtime.data.drawn import write_shapes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a COCO folder with the images 1.png to 3.png and no annotation file."""
    return write_pictures(tmp_path)


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Return a drawn dataset with 5 images in train, 4 in val and 1 in test."""
    write_shapes(tmp_path / "shapes", train=5, val=4, test=1, size=32)
    return tmp_path / "shapes"
