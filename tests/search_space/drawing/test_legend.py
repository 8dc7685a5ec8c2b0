"""The legend of a picture."""

from __future__ import annotations

import searched_archs
from search_space import Genome, MergingCell
from search_space.drawing.pictures import draw_genome


def test_the_legend_names_only_what_occurs() -> None:
    plain = Genome((MergingCell(4, "sum", (0, 1)), MergingCell(3, "sum", (0, 1))), (3, 4))
    texts = {t.get_text() for t in draw_genome(plain).axes[0].texts}
    assert {"sum", "output", "same level", "upsampled", "pooled"} <= texts
    assert not {"attention", "weighted sum", "identity", "gate", "leftover"} & texts
    texts = {t.get_text() for t in draw_genome(searched_archs.load("nasfpn")).axes[0].texts}
    assert {"attention", "gate", "leftover"} <= texts
