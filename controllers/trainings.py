"""The table of a study of rungs: a line for each training, with all that its score depends on.

The file is only appended to. A line is used for the same training only, so a study that was
interrupted, or gets more genomes, seeds or rungs, trains what is missing.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from controllers import candidate
from controllers.errors import SearchError
from controllers.reference import Record
from nasfpn_runtime.documents import parse_json
from nasfpn_runtime.errors import DocumentError
from search_space import Genome, genome_id
from search_space.rules import json_integer

TABLE = "trainings.jsonl"  # in the run folder


@dataclass(frozen=True)
class Rung:
    """A way to score a genome.

    Attributes:
        name: its name, a part of paths.
        arguments: what every training gets (see ``candidate.prepare``) but its seed; with
            ``init`` for a warm start (see ``reference.ready``).
    """

    name: str
    arguments: Mapping[str, Any]

    @cached_property
    def complete_recipe(self) -> dict[str, Any]:
        """Its recipe with present names and defaults of settings."""
        recipe = self.depends_on("", 0)["recipe"]
        return candidate.complete_recipe(recipe, f"rung {self.name}")

    def depends_on(self, genome: str, seed: int) -> dict[str, Any]:
        """Return all that the score of a training depends on, as JSON data.

        Args:
            genome: id of the genome.
        """
        recipe = {k: v for k, v in self.arguments["recipe"].items() if k != "description"}
        data = dict(self.arguments["digests"])
        reference = self.arguments.get("init", {}).get("digest")
        return {
            "genome": genome,
            "seed": seed,
            "recipe": recipe,
            "data": data,
            "reference": reference,
        }


@dataclass(frozen=True)
class Training:
    """One training of a study: a genome on a rung with a seed."""

    rung: Rung
    genome: Genome
    seed: int

    @cached_property
    def key(self) -> str:
        """What it depends on, as text."""
        depends = self.rung.depends_on(genome_id(self.genome), self.seed)
        return _text({**depends, "recipe": self.rung.complete_recipe})

    @property
    def folder(self) -> Path:
        """Its folder, relative to the run folder."""
        name = f"{genome_id(self.genome)[:12]}-{self.seed}-{_hash(self.key)[:8]}"
        return Path("runs", self.rung.name, name)


@dataclass(frozen=True)
class Score:
    """The result of a training: AP on val after the last epoch, and the seconds it took."""

    ap: float
    seconds: float


class Table:
    """The scores of a run folder, by what they depend on.

    Attributes:
        path: the file; a line for each training, and one for each reference.
        damaged: numbers of the lines that cannot be read, but an incomplete last one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged: list[int] = []
        self._scores: dict[str, Score] = {}
        self._references: dict[str, str] = {}
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        for number, line in enumerate(lines, start=1):
            if line and not self._read(line) and number < len(lines):
                self.damaged.append(number)

    def score(self, training: Training) -> Score | None:
        """Return the score of a training, None if it was not made."""
        return self._scores.get(training.key)

    def add(self, training: Training, score: Score) -> None:
        """Append a training to the file, and wait until it is on the disk.

        Raises:
            SearchError: it cannot be written.
        """
        genome = genome_id(training.genome)
        depends = training.rung.depends_on(genome, training.seed)
        line = {"rung": training.rung.name, "AP": score.ap, "seconds": score.seconds, **depends}
        self._append(line)
        self._scores[training.key] = score

    def record_of(self, identity: Mapping[str, Any]) -> Record:
        """Return where the digest of a reference is kept.

        Args:
            identity: all that the weights depend on, as JSON data.
        """
        key = _key(identity, "the reference")

        def write(digest: str) -> None:
            self._append({"weights": digest, "of": identity})
            self._references[key] = digest

        return Record(lambda: self._references.get(key), write)

    @property
    def warm(self) -> bool:
        """Whether a training started from a reference."""
        return any(parse_json(key, "").get("reference") for key in self._scores)

    def _read(self, line: bytes) -> bool:
        """Read a line; return whether it is one of this file."""
        try:
            content = parse_json(line, str(self.path))
            if "weights" in content:
                self._references[_key(content["of"], str(self.path))] = str(content["weights"])
                return True
            del content["rung"]  # the same training under another name is the same
            score = Score(content.pop("AP"), content.pop("seconds"))
            possible = all(
                type(v) in (int, float) and math.isfinite(v) for v in vars(score).values()
            )
            if not possible or not -1 <= score.ap <= 1 or score.seconds < 0:
                return False
            self._scores[_key(content, str(self.path))] = score
        # An edited line may hold anything: settings of recipes that no version had, too.
        except (DocumentError, ValueError, LookupError, TypeError, AttributeError):
            return False
        return True

    def _append(self, content: Mapping[str, Any]) -> None:
        line = json.dumps(content, default=json_integer).encode() + b"\n"
        try:
            with self.path.open("a+b") as file:
                if end := file.seek(0, os.SEEK_END):
                    file.seek(end - 1)
                    if file.read(1) != b"\n":  # a kill, or a full disk, cut the last line off
                        line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SearchError(
                f"cannot write {self.path}: {error.strerror}; the trainings in it are kept"
            ) from None


def _key(depends: Mapping[str, Any], where: str) -> str:
    """Return what weights depend on as text, with present names and defaults of settings.

    Args:
        where: where it is stored, for messages.
    """
    return _text({**depends, "recipe": candidate.complete_recipe(depends["recipe"], where)})


def _text(depends: Mapping[str, Any]) -> str:
    return json.dumps(depends, sort_keys=True, default=json_integer)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
