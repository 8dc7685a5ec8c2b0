"""The ``tf`` dialect against outputs of TF Model Garden's own NAS-FPN decoder.

``assets/tf.npz`` was made by ``official.vision.modeling.decoders.nasfpn.NASFPN``
(tf-models-official 2.19.1, CPU, float32, inference) on weights made from parameter names.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import mindspore
import numpy as np
import pytest
from numpy.typing import NDArray

from locations import ASSETS
from nasfpn_runtime import build_pyramid
from nasfpn_runtime.importers.load import load_state
from search_space import from_tf_blocks

Weight = Callable[[str, tuple[int, ...]], NDArray[np.float32]]

GOLDEN = np.load(ASSETS / "tf.npz")
GENOMES = json.loads(str(GOLDEN["genomes"]))
IN_CHANNELS = {3: 512, 4: 1024, 5: 2048}

pytestmark = pytest.mark.usefixtures("pynative")


def golden_arrays(weight: Weight) -> dict[str, NDArray[np.float32]]:
    """Return the golden's weights by its names, with the shapes of the published sizes."""
    channels = int(GOLDEN["num_filters"])
    kernels = {f"neck.lateral.{level}": (channels, n, 1, 1) for level, n in IN_CHANNELS.items()}
    for repeat in range(int(GOLDEN["repeats"])):
        for cell in range(7):
            kernels[f"neck.cells.{repeat}.{cell}"] = (channels, channels, 3, 3)
    arrays = {}
    for stem, shape in kernels.items():
        arrays[f"{stem}.conv.weight"] = weight(f"{stem}.conv.weight", shape)
        for leaf in ("conv.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
            arrays[f"{stem}.{leaf}"] = weight(f"{stem}.{leaf}", (channels,))
    return arrays


def golden_inputs() -> list[mindspore.Tensor]:
    rng = np.random.default_rng(7)
    height, width = int(GOLDEN["height"]), int(GOLDEN["width"])
    return [
        mindspore.Tensor(
            rng.standard_normal((1, channels, height >> level, width >> level)).astype(np.float32)
        )
        for level, channels in IN_CHANNELS.items()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(GENOMES)))
def test_a_genome_gives_what_tensorflow_gives(number: int, weight: Weight) -> None:
    genome = from_tf_blocks(GENOMES[number])
    pyramid = build_pyramid(
        genome,
        dialect="tf",
        in_channels=IN_CHANNELS,
        channels=int(GOLDEN["num_filters"]),
        stacks=int(GOLDEN["repeats"]),
    )
    report = load_state(pyramid, golden_arrays(weight), "tf")
    assert not report.missing
    assert not report.unexpected
    pyramid.set_train(False)
    for level, output in zip(genome.levels, pyramid(*golden_inputs()), strict=True):
        key = f"g{number}_{level.name}"
        assert output.shape == tuple(GOLDEN[f"{key}_shape"])
        expected = GOLDEN[key]
        ours = output.asnumpy().ravel()[GOLDEN[f"{key}_pos"]]
        # The same float32 operations in another order.
        assert np.abs(ours - expected).max() / expected.std() < 1e-4
