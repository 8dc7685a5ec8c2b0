"""Pictures are normalised on the device as they are in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor

from nasfpn_runtime.network.normalise import Normalise
from nasfpn_runtime.pictures.image import normalise

SIZE = (6, 10)


@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_it_is_the_same_as_in_numpy(mode: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(mode)
    rng = np.random.default_rng(0)
    sizes = [(6, 10), (1, 10), (6, 1), (3, 7)]
    pictures = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    # What is around a picture does not matter.
    images = rng.integers(0, 256, (len(sizes), 3, *SIZE), dtype=np.uint8)
    for image, picture in zip(images, pictures, strict=True):
        image[:, : picture.shape[0], : picture.shape[1]] = picture.transpose(2, 0, 1)
    found = Normalise()(Tensor(images), Tensor(np.array(sizes, np.int32))).asnumpy()
    expected = np.stack([normalise(picture, SIZE) for picture in pictures])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert (found[expected == 0] == 0).all()
