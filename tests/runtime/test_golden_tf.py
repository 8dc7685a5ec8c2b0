"""The ``tf`` semantics against outputs of TF Model Garden's own NAS-FPN decoder.

``assets/tf.npz`` was made by ``official.vision.modeling.decoders.nasfpn.NASFPN``
(tf-models-official 2.19.1, CPU, float32, inference) on weights made from parameter names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mindspore
import numpy as np
import pytest

from nasfpn_runtime.cells.pyramid import Pyramid
from nasfpn_runtime.semantics import TF
from search_space import from_tf_blocks

GOLDEN = np.load(Path(__file__).parents[1] / "assets" / "tf.npz")
GENOMES = json.loads(str(GOLDEN["genomes"]))
IN_CHANNELS = {3: 512, 4: 1024, 5: 2048}

pytestmark = pytest.mark.usefixtures("pynative")


def golden_name(name: str) -> str:
    """Return the name by which the golden's weights were made."""
    name = re.sub(r"^laterals\.(\d)\.", lambda m: f"neck.lateral.{int(m[1]) + 3}.", name)
    return re.sub(r"^stacks\.(\d)\.cells_\.(\d)\.out\.", r"neck.cells.\1.\2.", name)


def golden_inputs() -> list[mindspore.Tensor]:
    rng = np.random.default_rng(7)
    height, width = int(GOLDEN["height"]), int(GOLDEN["width"])
    return [
        mindspore.Tensor(
            rng.standard_normal((1, channels, height >> level, width >> level)).astype(np.float32)
        )
        for level, channels in IN_CHANNELS.items()
    ]


@pytest.mark.parametrize("number", range(len(GENOMES)))
def test_a_genome_gives_what_tensorflow_gives(number: int, fill: Callable[..., None]) -> None:
    genome = from_tf_blocks(GENOMES[number])
    semantics = replace(TF, norm_epsilon=float(GOLDEN["bn_eps"]))
    pyramid = Pyramid(
        genome, IN_CHANNELS, int(GOLDEN["num_filters"]), int(GOLDEN["repeats"]), semantics
    )
    fill(pyramid, golden_name)
    pyramid.set_train(False)
    for level, output in zip(genome.levels, pyramid(*golden_inputs()), strict=True):
        key = f"g{number}_{level.name}"
        assert output.shape == tuple(GOLDEN[f"{key}_shape"])
        expected = GOLDEN[key]
        ours = output.asnumpy().ravel()[GOLDEN[f"{key}_pos"]]
        # The same float32 arithmetic in another order.
        assert np.abs(ours - expected).max() / expected.std() < 1e-4
