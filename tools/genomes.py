"""Genomes as commands name them: shipped names or files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError

if TYPE_CHECKING:
    from search_space.genome import Genome


def load_named(text: str) -> tuple[str, Genome]:
    """Return the name and the genome of a shipped architecture or else of a JSON file.

    A file's name is its path's stem. A shipped name wins over a file of the same name;
    ``./nasfpn`` is always a file.

    Raises:
        UsageError: ``text`` is neither, or the file holds no valid genome.
    """
    from difflib import get_close_matches

    import searched_archs
    from search_space.codec import load_genome
    from search_space.errors import GenomeError

    known = searched_archs.names()
    if text in known:
        return text, searched_archs.load(text)
    path = Path(text)
    if not path.exists():
        near = get_close_matches(text.lower(), known, 3, 0.5)
        raise UsageError(
            "a genome is a shipped name or a JSON file, got "
            f"{text!r}, which is no file; "
            + (f"nearest names: {', '.join(near)}" if near else f"names: {', '.join(known)}")
        )
    try:
        return path.stem, load_genome(path)
    except GenomeError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
