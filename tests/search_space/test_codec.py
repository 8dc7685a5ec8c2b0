"""Genomes as JSON and as TensorFlow blocks: round trips, files, and every refused text."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_space import (
    Genome,
    GenomeError,
    MergingCell,
    from_json,
    from_tf_blocks,
    load_genome,
    save_genome,
    to_json,
    to_tf_blocks,
)
from search_space.codec import read_document

RandomGenome = Callable[[np.random.Generator], Genome]

# The published cell and six random ones as blocks. tf-models-official 2.19.1
# (official.vision.modeling.decoders.nasfpn) has built and run each of them.
TF_GENOMES = json.loads("""[
 [[4, "attention", [1, 3], false], [4, "sum", [1, 5], false], [3, "sum", [0, 6], true],
  [4, "sum", [6, 7], true], [5, "attention", [7, 8], true], [7, "attention", [6, 9], true],
  [6, "attention", [9, 10], true]],
 [[5, "sum", [3, 2], false], [4, "attention", [2, 5], false], [4, "attention", [0, 5], true],
  [7, "sum", [6, 4], true], [5, "attention", [4, 3], true], [6, "sum", [8, 2], true],
  [3, "sum", [7, 2], true]],
 [[4, "sum", [4, 3], false], [7, "sum", [4, 2], false], [6, "sum", [5, 4], true],
  [3, "attention", [4, 6], true], [7, "sum", [7, 1], true], [4, "sum", [2, 6], true],
  [5, "sum", [10, 9], true]],
 [[7, "attention", [0, 1], false], [4, "sum", [3, 1], false], [5, "sum", [2, 6], true],
  [3, "attention", [2, 7], true], [7, "sum", [5, 3], true], [6, "attention", [1, 2], true],
  [4, "attention", [0, 5], true]],
 [[4, "sum", [3, 0], false], [4, "attention", [1, 4], false], [3, "sum", [3, 1], true],
  [7, "sum", [0, 5], true], [5, "attention", [1, 5], true], [6, "sum", [9, 1], true],
  [4, "attention", [5, 9], true]],
 [[4, "sum", [2, 0], false], [6, "sum", [1, 5], false], [6, "sum", [1, 5], true],
  [3, "sum", [2, 1], true], [5, "attention", [8, 3], true], [4, "sum", [4, 3], true],
  [7, "attention", [7, 3], true]],
 [[7, "sum", [1, 3], false], [4, "attention", [3, 1], false], [4, "attention", [5, 4], true],
  [6, "sum", [7, 3], true], [7, "sum", [5, 4], true], [3, "attention", [4, 5], true],
  [5, "attention", [9, 6], true]]
]""")

BLOCKS: list[list[Any]] = [[4, "sum", [0, 1], False], [3, "sum", [0, 1], True]]
BLOCKS += [[4, "attention", [1, 2], True]]

TEXT = """{
  "version": 1,
  "levels": [3, 4],
  "cells": [
    {"level": 4, "op": "sum", "inputs": [0, 1]},
    {"level": 3, "op": "identity", "inputs": [2]},
    {"level": 4, "op": "weighted", "inputs": [2, 1, 3]}
  ],
  "meta": {
    "name": "tiny",
    "score": 0.5
  }
}
"""
GENOME = Genome(
    (
        MergingCell(4, "sum", (0, 1)),
        MergingCell(3, "identity", (2,)),
        MergingCell(4, "weighted", (2, 1, 3)),
    ),
    (3, 4),
)


def test_json_by_hand() -> None:
    assert to_json(GENOME, {"score": 0.5, "name": "tiny"}) == TEXT
    assert read_document(TEXT) == (GENOME, {"name": "tiny", "score": 0.5})
    assert read_document(to_json(GENOME)) == (GENOME, {})


def test_random_genomes_survive_json(random_genome: RandomGenome) -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        genome = random_genome(rng)
        text = to_json(genome)
        assert from_json(text) == genome
        assert to_json(from_json(text)) == text


def _document(**change: object) -> str:
    document = {**json.loads(TEXT), **change}
    return json.dumps({key: value for key, value in document.items() if value is not None})


def _cell(index: int, **change: object) -> str:
    cells = json.loads(TEXT)["cells"]
    cells[index] = {k: v for k, v in {**cells[index], **change}.items() if v is not None}
    return _document(cells=cells)


@pytest.mark.parametrize(
    ("text", "rule", "path"),
    [
        ("{", "JSON", "document"),
        ("", "JSON", "document"),
        ("[" * 100_000, "JSON", "document"),
        ("[]", "object", "document"),
        ("null", "object", "document"),
        (TEXT.replace("{", '{"version": 1,', 1), "unique", "version"),
        (TEXT.replace('"op"', '"level": 4, "op"', 1), "unique", "level"),
        (_document(version=2), "must be 1", "version"),
        (_document(version="1"), "must be 1", "version"),
        (_document(version=True), "must be 1", "version"),
        (_document(version=None), "key version", "document"),
        (_document(name="x"), "cells, levels, meta, version", "document"),
        (_document(meta=[]), "object", "meta"),
        (_document(levels=3), "list", "levels"),
        (_document(levels=[3, "4"]), "from 1 to 10", "levels[1]"),
        (_document(levels=[4, 3]), "ascending", "levels"),
        (_document(cells={}), "list", "cells"),
        (_document(cells=[]), "every input level", "cells"),
        (_document(cells=[3]), "object", "cells[0]"),
        (_cell(1, op=None), "key op", "cells[1]"),
        (_cell(1, name="x"), "inputs, level, op", "cells[1]"),
        (_cell(1, level=3.0), "from 1 to 10", "cells[1].level"),
        (_cell(1, level=5), "(3, 4)", "cells[1].level"),
        (_cell(1, op=1), "sum, attention", "cells[1].op"),
        (_cell(1, inputs=2), "node numbers", "cells[1].inputs"),
        (_cell(1, inputs=["2"]), "node numbers", "cells[1].inputs"),
        (_cell(1, inputs=[2, 1]), "1 input", "cells[1].inputs"),
        (_cell(1, inputs=[3]), "below 3", "cells[1].inputs"),
        (_cell(2, inputs=[1, 2, 1]), "different", "cells[2].inputs"),
    ],
)
def test_a_faulty_document_is_refused_with_its_path(text: str, rule: str, path: str) -> None:
    with pytest.raises(GenomeError) as caught:
        from_json(text)
    assert rule in caught.value.rule
    assert caught.value.path == path


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(GenomeError, match=r"got 'input' \(at cells\[1\]\).* inputs\?$") as caught:
        from_json(_cell(1, input=[2]))
    assert caught.value.path == "cells[1]"


@pytest.mark.parametrize("meta", [{"x": float("nan")}, {"x": object()}])
def test_meta_that_is_not_json_data_is_refused(meta: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError)):
        save_genome(GENOME, tmp_path / "genome.json", meta)
    assert list(tmp_path.iterdir()) == []


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "genome.json"
    save_genome(GENOME, path, {"name": "tiny", "score": 0.5})
    assert path.read_text() == TEXT
    assert load_genome(str(path)) == GENOME
    assert os.listdir(tmp_path) == ["genome.json"]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "genome.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        save_genome(GENOME, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["genome.json"]


def test_file_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "genome.json"
    with pytest.raises(OSError, match=r"genome\.json"):
        load_genome(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(GenomeError, match=r"UTF-8 .*genome\.json"):
        load_genome(path)
    path.write_text(_cell(1, op="add"))
    with pytest.raises(GenomeError, match=r"got 'add' .*genome\.json: cells\[1\]\.op"):
        load_genome(path)


@pytest.mark.parametrize("blocks", TF_GENOMES)
def test_blocks_that_tensorflow_has_run_survive(blocks: list[list[Any]]) -> None:
    genome = from_tf_blocks(blocks)
    assert genome == from_tf_blocks([(a, b, tuple(c), d) for a, b, c, d in blocks])
    assert json.loads(json.dumps(to_tf_blocks(genome))) == blocks
    assert [(c.level, c.op, list(c.inputs)) for c in genome.cells] == [
        (level, op, inputs) for level, op, inputs, _ in blocks
    ]


def _block(index: int, field: int, value: object) -> list[list[Any]]:
    blocks = [list(block) for block in BLOCKS]
    blocks[index][field] = value
    return blocks


def test_blocks_on_other_levels() -> None:
    genome = from_tf_blocks(BLOCKS, levels=[3, 4])
    assert genome.levels == (3, 4)
    assert from_tf_blocks(to_tf_blocks(genome), genome.levels) == genome


@pytest.mark.parametrize(
    ("blocks", "rule", "path"),
    [
        ([3], "(level, op, inputs, is_output)", "blocks[0]"),
        (["abcd"], "(level, op, inputs, is_output)", "blocks[0]"),
        ([BLOCKS[0][:3]], "(level, op, inputs, is_output)", "blocks[0]"),
        (_block(0, 0, "4"), "from 1 to 10", "blocks[0].level"),
        (_block(0, 0, 5), "(3, 4)", "blocks[0].level"),
        (_block(1, 1, "weighted"), "attention, sum", "blocks[1].op"),
        (_block(1, 2, [0]), "2 or more", "blocks[1].inputs"),
        (_block(1, 2, [0, 3]), "below 3", "blocks[1].inputs"),
        (_block(0, 3, True), "be False", "blocks[0]"),
        (_block(2, 3, False), "be True", "blocks[2]"),
        (_block(2, 3, 1), "be True", "blocks[2]"),
        (BLOCKS[:1], "every input level", "blocks"),
    ],
)
def test_faulty_blocks_are_refused_with_their_path(blocks: list[Any], rule: str, path: str) -> None:
    with pytest.raises(GenomeError) as caught:
        from_tf_blocks(blocks, levels=(3, 4))
    assert rule in caught.value.rule
    assert caught.value.path == path


@pytest.mark.parametrize(
    "cell",
    [
        MergingCell(4, "weighted", (0, 1)),
        MergingCell(4, "identity", (0,)),
        MergingCell(4, "sum", (0, 1, 2)),
    ],
)
def test_a_cell_without_a_tensorflow_block_is_refused(cell: MergingCell) -> None:
    genome = Genome((MergingCell(3, "sum", (0, 1)), cell), (3, 4))
    with pytest.raises(GenomeError) as caught:
        to_tf_blocks(genome)
    assert caught.value.value == (cell.op, cell.inputs)
    assert caught.value.path == "cells[1]"
