"""Feature pyramids as values, and the space of all pyramids that a search chooses from.

README.md explains the words (genome, cell, node, level, leftover, decision) and which file
does what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search_space.base import Decision, SearchSpace
from search_space.codec import (
    from_json,
    from_tf_blocks,
    load_genome,
    save_genome,
    to_json,
    to_tf_blocks,
)
from search_space.cost.cost import Cost, detector_cost
from search_space.errors import GenomeError
from search_space.genome import PYRAMID_LEVELS, Genome, Level, MergingCell
from search_space.graph import from_graph, to_graph
from search_space.identity import genome_id
from search_space.shape import DetectorShape
from search_space.space import NASFPNSpace
from search_space.wide import WideSpace

if TYPE_CHECKING:
    from search_space.drawing.pictures import draw_genome

__all__ = [
    "PYRAMID_LEVELS",
    "Cost",
    "Decision",
    "DetectorShape",
    "Genome",
    "GenomeError",
    "Level",
    "MergingCell",
    "NASFPNSpace",
    "SearchSpace",
    "WideSpace",
    "detector_cost",
    "draw_genome",
    "from_graph",
    "from_json",
    "from_tf_blocks",
    "genome_id",
    "load_genome",
    "save_genome",
    "to_graph",
    "to_json",
    "to_tf_blocks",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: matplotlib takes half a second, and few users draw.
    if name == "draw_genome":
        from search_space.drawing.pictures import draw_genome

        return draw_genome
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
