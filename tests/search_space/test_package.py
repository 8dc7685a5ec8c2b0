"""What ``import search_space`` offers."""

from __future__ import annotations

import pytest

import search_space


def test_draw_genome_is_imported_on_first_use() -> None:
    assert callable(search_space.draw_genome)
    with pytest.raises(AttributeError, match="draw_genomes"):
        search_space.draw_genomes  # type: ignore[attr-defined]  # noqa: B018
