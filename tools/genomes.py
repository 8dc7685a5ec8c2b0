"""Genomes on the command line: shipped names or files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tools.errors import UsageError

if TYPE_CHECKING:
    from search_space.genome import Genome


def path_name(name: str) -> str:
    """Return the name of a genome that becomes part of the path of an output.

    Raises:
        UsageError: it may not be a part of a path.
    """
    from search_space.names import path_fault, shown

    if fault := path_fault(name):
        raise UsageError(
            f"the name of a genome in the path of an output must be {fault}, got {shown(name)}; "
            "rename its file"
        )
    return name


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


def load_all(texts: Sequence[str], taken: Sequence[str] = ()) -> dict[str, tuple[str, Genome]]:
    """Return the genomes of a command line, see :func:`load_named`, by names that differ.

    Files with the same stem, such as ``a/best.json`` and ``b/best.json``, are named as they were
    given.

    Args:
        texts: shipped names and JSON files; repeated ones count once.
        taken: names that are in use already.

    Returns:
        The name that :func:`load_named` gives a genome, and the genome, by a name of its own.
    """
    named = {text: load_named(text) for text in texts}
    uses = Counter([*taken, *(name for name, _ in named.values())])
    genomes = {}
    for text, (name, genome) in named.items():
        own = name
        if uses[name] > 1:
            own = f"./{text}" if text in taken else text
        genomes[own] = (name, genome)
    return genomes


def run_folder(folder: Path, genome: Genome, taken: Mapping[Path, Genome] | None = None) -> Path:
    """Return the folder for runs of a genome: ``folder``, or one beside it named by its id.

    The latter is used if ``folder`` holds runs of another genome, such as an earlier winner of a
    search.

    Args:
        folder: where the run, or a folder ``seed*`` for each run, will be.
        taken: folders that other genomes will have.
    """
    from search_space.codec import load_genome
    from search_space.errors import GenomeError
    from search_space.identity import genome_id

    def is_free(folder: Path) -> bool:
        """Return whether only this genome has runs in the folder."""
        try:
            files = (folder / "genome.json", *folder.glob("seed*/genome.json"))
            stored = [load_genome(file) for file in files if file.exists()]
        except GenomeError:
            return False
        return all(other == genome for other in (*stored, (taken or {}).get(folder, genome)))

    return folder if is_free(folder) else folder.with_name(f"{folder.name}-{genome_id(genome)[:8]}")
