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

# The published cell and six random ones, in the form tf-models-official 2.19.1
# (official.vision.modeling.decoders.nasfpn) takes and has run.
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
        ("{", "is JSON", "document"),
        ("", "is JSON", "document"),
        ("[" * 100_000, "is JSON", "document"),
        ("[]", "an object", "document"),
        ("null", "an object", "document"),
        (TEXT.replace("{", '{"version": 1,', 1), "each key once", "version"),
        (TEXT.replace('"op"', '"level": 4, "op"', 1), "each key once", "level"),
        (_document(version=2), "the version is 1", "version"),
        (_document(version="1"), "the version is 1", "version"),
        (_document(version=True), "the version is 1", "version"),
        (_document(version=None), "the key version is there", "document"),
        (_document(name="x"), "keys are cells, levels, meta, version", "document"),
        (_document(meta=[]), "meta is an object", "meta"),
        (_document(levels=3), "levels is a list", "levels"),
        (_document(levels=[3, "4"]), "a level is an integer", "levels[1]"),
        (_document(levels=[4, 3]), "ascending", "levels"),
        (_document(cells={}), "cells is a list", "cells"),
        (_document(cells=[]), "at least one cell", "cells"),
        (_document(cells=[3]), "an object", "cells[0]"),
        (_cell(1, op=None), "the key op is there", "cells[1]"),
        (_cell(1, name="x"), "keys are inputs, level, op", "cells[1]"),
        (_cell(1, level=3.0), "a level is an integer", "cells[1].level"),
        (_cell(1, level=5), "one of the input levels", "cells[1].level"),
        (_cell(1, op=1), "an op is one of", "cells[1].op"),
        (_cell(1, inputs=2), "inputs are node numbers", "cells[1].inputs"),
        (_cell(1, inputs=["2"]), "inputs are node numbers", "cells[1].inputs"),
        (_cell(1, inputs=[2, 1]), "identity takes 1", "cells[1].inputs"),
        (_cell(1, inputs=[3]), "inputs of node 3 are below 3", "cells[1].inputs"),
        (_cell(2, inputs=[1, 2, 1]), "at most once", "cells[2].inputs"),
    ],
)
def test_a_faulty_document_is_refused_with_its_place(text: str, rule: str, path: str) -> None:
    with pytest.raises(GenomeError) as caught:
        from_json(text)
    assert rule in caught.value.rule
    assert caught.value.path == path


@pytest.mark.parametrize("meta", [{"x": float("nan")}, {"x": object()}])
def test_meta_is_json_data(meta: dict[str, object], tmp_path: Path) -> None:
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
    with pytest.raises(GenomeError, match=r"an op is .*genome\.json: cells\[1\]\.op"):
        load_genome(path)


@pytest.mark.parametrize("blocks", TF_GENOMES)
def test_blocks_that_tensorflow_has_run(blocks: list[list[Any]]) -> None:
    genome = from_tf_blocks(blocks)
    assert genome == from_tf_blocks([(a, b, tuple(c), d) for a, b, c, d in blocks])
    assert json.loads(json.dumps(to_tf_blocks(genome))) == blocks
    assert [(c.level, c.op, list(c.inputs)) for c in genome.cells] == [
        (level, op, inputs) for level, op, inputs, _ in blocks
    ]


def _block(index: int, place: int, value: object) -> list[list[Any]]:
    blocks = [list(block) for block in BLOCKS]
    blocks[index][place] = value
    return blocks


def test_blocks_on_other_levels() -> None:
    genome = from_tf_blocks(BLOCKS, levels=[3, 4])
    assert genome.levels == (3, 4)
    assert from_tf_blocks(to_tf_blocks(genome), genome.levels) == genome


@pytest.mark.parametrize(
    ("blocks", "rule", "path"),
    [
        ([3], "a block is", "blocks[0]"),
        (["abcd"], "a block is", "blocks[0]"),
        ([BLOCKS[0][:3]], "a block is", "blocks[0]"),
        (_block(0, 0, "4"), "a level is", "blocks[0].level"),
        (_block(0, 0, 5), "one of the input levels", "blocks[0].level"),
        (_block(1, 1, "weighted"), "a block's op is one of", "blocks[1].op"),
        (_block(1, 2, [0]), "takes 2", "blocks[1].inputs"),
        (_block(1, 2, [0, 3]), "below 3", "blocks[1].inputs"),
        (_block(0, 3, True), "is_output is False here", "blocks[0]"),
        (_block(2, 3, False), "is_output is True here", "blocks[2]"),
        (_block(2, 3, 1), "is_output is True here", "blocks[2]"),
        (BLOCKS[:1], "every input level", "blocks"),
    ],
)
def test_faulty_blocks_are_refused_with_their_place(
    blocks: list[Any], rule: str, path: str
) -> None:
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
def test_what_tensorflow_cannot_say_is_refused(cell: MergingCell) -> None:
    genome = Genome((MergingCell(3, "sum", (0, 1)), cell), (3, 4))
    with pytest.raises(GenomeError, match="a sum or an attention of two") as caught:
        to_tf_blocks(genome)
    assert caught.value.path == "cells[1]"
