"""Pyramids that others found or drew, as genomes with their provenance.

One JSON v1 file each (``search_space.codec``) beside this module; its ``meta`` holds the
fields of :class:`ArchInfo`. README.md has them as a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources

from search_space.codec import read_document
from search_space.errors import GenomeError
from search_space.genome import Genome


@dataclass(frozen=True)
class ArchInfo:
    """Where an architecture comes from.

    Attributes:
        name: what :func:`load` takes.
        title: as one writes it.
        source: paper, or repository, file and commit.
        note: in what the genome differs from the source, empty where in nothing.
        published_ap: AP in percent, None where none was published.
        published_on: data, detector and place of that AP, empty with None.
    """

    name: str
    title: str
    source: str
    note: str
    published_ap: float | None
    published_on: str


def names() -> tuple[str, ...]:
    """Return the names of all architectures, in alphabetical order."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name[:-5] for f in files if f.name.endswith(".json")))


def load(name: str) -> Genome:
    """Return an architecture's genome.

    Raises:
        GenomeError: there is no architecture of that name; the message lists the names
            and the nearest one.
    """
    return _read(name)[0]


def info(name: str) -> ArchInfo:
    """Return an architecture's provenance.

    Raises:
        GenomeError: there is no architecture of that name.
    """
    return _read(name)[1]


@cache
def _read(name: str) -> tuple[Genome, ArchInfo]:
    known = names()
    if name not in known:
        near = "".join(f"; nearest is {n}" for n in get_close_matches(str(name), known, 1))
        raise GenomeError(f"an architecture is one of {', '.join(known)}{near}", name, "name")
    text = resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    genome, meta = read_document(text)
    return genome, ArchInfo(name=name, **meta)
