"""Genomes as text: JSON v1, and the list of tuples of the TensorFlow implementations.

JSON v1 is one object::

    {
      "version": 1,
      "levels": [3, 4, 5, 6, 7],
      "cells": [{"level": 4, "op": "attention", "inputs": [1, 3]}, ...],
      "meta": {...}
    }

``meta`` is optional and may hold any object; any other key is an error. A TensorFlow
block is ``(level, "attention" | "sum", (i, j), is_output)``, as in tensorflow/tpu
``models/official/detection/modeling/architecture/nasfpn.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search_space.errors import GenomeError, nearest
from search_space.files import atomic_write
from search_space.genome import PYRAMID_LEVELS, Genome, MergingCell, to_levels
from search_space.rules import as_int, json_integer
from search_space.wiring import wire

VERSION = 1
MAX_CHARACTERS = 1_000_000  # of a genome file
TFBlock = tuple[int, str, tuple[int, int], bool]
_TF_OPS = ("attention", "sum")


def to_json(genome: Genome, meta: Mapping[str, Any] | None = None) -> str:
    """Return the genome as JSON v1, one cell per line; equal arguments give equal text.

    Args:
        genome: the genome to write.
        meta: JSON data to store with it, written with sorted keys. Numpy integers are written
            as integers.

    Raises:
        TypeError, ValueError: ``meta`` is not JSON data.
    """
    cells = ",\n".join(
        "    " + json.dumps({"level": c.level, "op": c.op, "inputs": c.inputs})
        for c in genome.cells
    )
    parts = [
        f'  "version": {VERSION}',
        f'  "levels": {json.dumps(genome.levels)}',
        f'  "cells": [\n{cells}\n  ]',
    ]
    if meta is not None:
        text = json.dumps(
            dict(meta), indent=2, sort_keys=True, allow_nan=False, default=json_integer
        )
        parts.append('  "meta": ' + text.replace("\n", "\n  "))
    return "{\n" + ",\n".join(parts) + "\n}\n"


def from_json(text: str) -> Genome:
    """Return the genome of a JSON v1 text.

    Raises:
        GenomeError: the text is not JSON v1, or a genome rule is broken. The path is
            relative to the document, such as ``cells[1].inputs``.
    """
    return read_document(text)[0]


def read_document(text: str) -> tuple[Genome, dict[str, Any]]:
    """Return the genome of a JSON v1 text and its ``meta``, empty if there is none.

    Raises:
        GenomeError: as :func:`from_json`.
    """
    try:
        document = json.loads(text, object_pairs_hook=_object_with_unique_keys)
    except GenomeError:
        raise
    except (ValueError, RecursionError) as error:
        raise GenomeError("a genome file must be JSON", str(error), "document") from None
    _check_keys(document, {"version", "levels", "cells"}, {"meta"}, "document")
    if as_int(document["version"]) != VERSION:
        raise GenomeError(f"the version must be {VERSION}", document["version"], "version")
    for key in ("levels", "cells"):
        if not isinstance(document[key], list):
            raise GenomeError(f"{key} must be a list", document[key], key)
    meta = document.get("meta", {})
    if not isinstance(meta, dict):
        raise GenomeError("meta must be an object", meta, "meta")
    cells = []
    for index, cell in enumerate(document["cells"]):
        path = f"cells[{index}]"
        _check_keys(cell, {"level", "op", "inputs"}, set(), path)
        cells.append(_make_cell(cell["level"], cell["op"], cell["inputs"], path))
    return Genome(tuple(cells), to_levels(document["levels"], "levels")), meta


def load_genome(path: str | Path) -> Genome:
    """Return the genome in a JSON v1 file.

    Raises:
        OSError: the file cannot be read.
        GenomeError: as :func:`from_json`; the path starts with the file name.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:  # a device may have no end
            text = file.read(MAX_CHARACTERS + 1)
        if len(text) > MAX_CHARACTERS:
            rule = f"a genome file must have at most {MAX_CHARACTERS:,} characters"
            raise GenomeError(rule, "a longer one", "document")
        return from_json(text)
    except UnicodeDecodeError as error:
        raise GenomeError("a genome file must be UTF-8 text", str(error), str(path)) from None
    except GenomeError as error:
        where = f"{path}: {error.path}"
        raise GenomeError(error.rule, error.value, where, error.hint) from None


def save_genome(genome: Genome, path: str | Path, meta: Mapping[str, Any] | None = None) -> None:
    """Write the genome as JSON v1, atomically.

    Raises:
        OSError: the file cannot be written.
        TypeError, ValueError: ``meta`` is not JSON data.
    """
    path = Path(path)
    text = to_json(genome, meta)
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")


def from_tf_blocks(
    blocks: Iterable[Sequence[Any]], levels: Sequence[int] = PYRAMID_LEVELS
) -> Genome:
    """Return the genome of TensorFlow blocks, given as tuples or lists.

    Raises:
        GenomeError: a block is malformed, a genome rule is broken, or ``is_output``
            contradicts the order of the blocks: it must be true for the last block on
            each level and for no other. The path starts with ``blocks``, such as
            ``blocks[1].inputs``.
    """
    blocks = list(blocks)
    cells = []
    for index, block in enumerate(blocks):
        if not isinstance(block, (list, tuple)) or len(block) != 4:
            raise GenomeError(
                "a block must be (level, op, inputs, is_output)", block, f"blocks[{index}]"
            )
        if block[1] not in _TF_OPS:
            raise GenomeError(
                f"a block's op must be one of {', '.join(_TF_OPS)}", block[1], f"blocks[{index}].op"
            )
        level, op, inputs, _ = block
        cells.append(_make_cell(level, op, inputs, f"blocks[{index}]"))
    try:
        genome = Genome(tuple(cells), to_levels(levels, "levels"))
    except GenomeError as error:
        path = error.path.replace("cells", "blocks", 1)
        raise GenomeError(error.rule, error.value, path, error.hint) from None
    for index, (block, implied) in enumerate(zip(blocks, _output_flags(genome), strict=True)):
        if block[3] is not implied:
            raise GenomeError(
                f"is_output must be {implied}: it marks the last block on each level",
                block[3],
                f"blocks[{index}]",
            )
    return genome


def to_tf_blocks(genome: Genome) -> list[TFBlock]:
    """Return the genome as TensorFlow blocks.

    Raises:
        GenomeError: a cell is neither a sum nor an attention of two inputs.
    """
    blocks = []
    for index, (cell, output) in enumerate(zip(genome.cells, _output_flags(genome), strict=True)):
        if cell.op not in _TF_OPS or len(cell.inputs) != 2:
            raise GenomeError(
                "a TensorFlow block must be a sum or an attention of two inputs",
                (cell.op, cell.inputs),
                f"cells[{index}]",
            )
        first, second = cell.inputs
        blocks.append((int(cell.level), cell.op, (first, second), output))
    return blocks


def _output_flags(genome: Genome) -> list[bool]:
    return [cell.output for cell in wire(genome).cells]


def _make_cell(level: Any, op: Any, inputs: Any, path: str) -> MergingCell:
    try:
        return MergingCell(level, op, inputs)
    except GenomeError as error:
        raise error.under(path) from None


def _object_with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        repeated = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise GenomeError("keys of an object must be unique", repeated, repeated)
    return result


def _check_keys(value: object, required: set[str], optional: set[str], path: str) -> None:
    if not isinstance(value, dict):
        raise GenomeError("a value here must be an object", value, path)
    known = sorted(required | optional)
    for key in sorted(required - value.keys()):
        raise GenomeError(f"key {key} must be present", sorted(value), path)
    for key in sorted(value.keys() - required - optional):
        rule = f"a key must be one of {', '.join(known)}"
        raise GenomeError(rule, key, path, nearest(key, known))
