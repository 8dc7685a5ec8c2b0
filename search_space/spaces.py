"""The search spaces by the names that the command line uses."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from search_space.base import SearchSpace
from search_space.genome import PYRAMID_LEVELS
from search_space.space import NASFPNSpace
from search_space.wide import WideSpace

SPACES: dict[str, type[NASFPNSpace] | type[WideSpace]] = {
    space.kind: space for space in (NASFPNSpace, WideSpace)
}
_READABLE = 10**18  # sizes from here on are written with three digits


def create_space(
    kind: str,
    levels: Iterable[int] = PYRAMID_LEVELS,
    intermediate_cells: int | None = None,
) -> SearchSpace:
    """Return a space of one of the kinds in ``SPACES``.

    Args:
        kind: its name.
        levels: input and output levels, ascending.
        intermediate_cells: their number, in the wide space the greatest; None for the default of
            the kind.

    Raises:
        GenomeError: levels or intermediate cells break a rule of the space.
    """
    given: dict[str, Any] = {"levels": tuple(levels)}
    if intermediate_cells is not None:
        given["intermediate_cells"] = intermediate_cells
    return SPACES[kind](**given)


def size_text(space: SearchSpace) -> str:
    """Return the number of genomes of a space for messages: exact if it has up to 18 digits."""
    size = space.size()
    return f"{size:,} genomes" if size < _READABLE else f"about {Decimal(size):.2e} genomes"
