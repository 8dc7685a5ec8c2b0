"""The memory cache of images: what it keeps, and how it scales and pads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch_data import BOX, PLAIN, SIZE, write, write_grey
from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.data import samples
from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.pictures.image import INTERPOLATIONS, Pixels, read_image, resize
from nasfpn_runtime.recipe.settings import Data


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Three pictures of 32 x 24."""
    return write_grey(tmp_path, [[BOX]] * 3)


def test_images_are_read_once_while_they_fit_in_memory(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def record(path: Path, **options: bool) -> Pixels:
        read.append(path.stem)
        return read_image(path, **options)

    monkeypatch.setattr(samples, "read_image", record)
    cache = Pictures(split, SIZE, PLAIN, cache_bytes=2 * 64 * 64 * 3)  # two fitted pictures
    for _ in range(2):
        for number in range(3):
            assert cache[number][0][0, 0, 0] == number
    assert read == ["0", "1", "2", "2"]
    # As stored they are smaller, 32 x 24 x 3 bytes.
    read.clear()
    cache = Pictures(split, SIZE, PLAIN, cache_bytes=32 * 24 * 3)
    for _ in range(2):
        for number in range(2):
            assert cache.stored(number).shape == (24, 32, 3)
            assert cache.stored(number)[0, 0, 0] == number
    assert read == ["0", "1", "1", "1", "1"]


def test_an_image_is_padded_to_the_input_or_to_the_smallest_multiple(split: Split) -> None:
    # 32 x 24 letterboxed to 64 x 64 is 64 wide and 48 high.
    full, least = (Pictures(split, SIZE, Data(SIZE, pad=pad)) for pad in ("image", "picture"))
    assert full.frame(0, 16) == SIZE
    assert [least.frame(0, stride) for stride in (16, 32)] == [(48, 64), (64, 64)]
    image, placement = least[0]
    assert image.shape[:2] == (placement.height, placement.width) == (48, 64)


def test_images_are_scaled_as_the_recipe_says(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    split, size = write(tmp_path, [noise], [[BOX]]), (16, 16)
    fitted = {
        name: Pictures(split, size, Data(size, "squash", name))[0][0] for name in INTERPOLATIONS
    }
    for name, image in fitted.items():
        np.testing.assert_array_equal(image, resize(noise, size, name))
    assert not np.array_equal(*fitted.values())
