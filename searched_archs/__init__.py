"""Published pyramids as genomes, with their sources.

Each is one JSON v1 file (``search_space.codec``) beside this module, whose ``meta`` holds
the fields of :class:`ArchInfo`. README.md lists them in a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

from search_space.codec import read_document
from search_space.errors import GenomeError, nearest
from search_space.genome import Genome


@dataclass(frozen=True)
class ArchInfo:
    """Where an architecture comes from.

    Attributes:
        name: name of the architecture, as :func:`load` takes it.
        title: name for people to read.
        source: paper, or repository, file and commit.
        note: how the genome differs from its source; empty if it does not.
        published_ap: AP in percent, None if none was published.
        published_on: data and detector of that AP and where it was published; empty if
            there is none.
    """

    name: str
    title: str
    source: str
    note: str
    published_ap: float | None
    published_on: str


def names() -> tuple[str, ...]:
    """Return the names of all architectures in alphabetical order."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name[:-5] for f in files if f.name.endswith(".json")))


def load(name: str) -> Genome:
    """Return an architecture's genome.

    Raises:
        GenomeError: there is no architecture of that name. The message lists all names and
            suggests the nearest one.
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
        rule = f"an architecture must be one of {', '.join(known)}"
        raise GenomeError(rule, name, "name", nearest(str(name), known))
    text = resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    genome, meta = read_document(text)
    return genome, ArchInfo(name=name, **meta)
