"""Normalisation on the device gives the same as in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor

from nasfpn_runtime.network.normalise import Normalise
from nasfpn_runtime.pictures.image import normalise

SIZE = (6, 10)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_it_gives_the_same_as_numpy(mode: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(mode)
    rng = np.random.default_rng(0)
    sizes = [(6, 10), (1, 10), (6, 1), (3, 7)]
    pictures = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    # The pixels around a picture do not matter.
    images = rng.integers(0, 256, (len(sizes), 3, *SIZE), dtype=np.uint8)
    for image, picture in zip(images, pictures, strict=True):
        image[:, : picture.shape[0], : picture.shape[1]] = picture.transpose(2, 0, 1)
    ours = Normalise()(Tensor(images), Tensor(np.array(sizes, np.int32))).asnumpy()
    expected = np.stack([normalise(picture, SIZE) for picture in pictures])
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)
    assert (ours[expected == 0] == 0).all()
