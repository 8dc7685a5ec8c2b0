"""Genomes on the command line: shipped names or files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError

if TYPE_CHECKING:
    from search_space.genome import Genome


def load_named(text: str) -> tuple[str, Genome]:
    """Return the name and the genome of a shipped architecture or a JSON file.

    The name of a file's genome is the file's stem. A shipped name takes precedence over a file
    of the same name; ``./nasfpn`` is always a file.

    Raises:
        UsageError: ``text`` is neither a shipped name nor a file that can be read.
        GenomeError: the file does not contain a valid genome.
    """
    import searched_archs
    from search_space.codec import load_genome
    from search_space.errors import nearest

    known = searched_archs.names()
    if text in known:
        return text, searched_archs.load(text)
    path = Path(text)
    if not path.exists():
        raise UsageError(
            f"a genome must be a JSON file or one of {', '.join(known)}, "
            f"got {text!r}{nearest(text.lower(), known)}"
        )
    try:
        return path.stem, load_genome(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
