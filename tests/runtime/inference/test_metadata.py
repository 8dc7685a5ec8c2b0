"""The texts inside exported files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.export.onnx_graph import OnnxGraph
from nasfpn_runtime.inference.metadata import read_entries

entries = st.dictionaries(st.text(min_size=1, max_size=200), st.text(max_size=400), max_size=4)


def write_file(path: Path, texts: dict[str, str]) -> bytes:
    """Write an ONNX file that adds numbers, with these texts; return its content."""
    graph = OnnxGraph(np.dtype(np.float32))
    graph.add("Add", "y", "x", graph.constant("one", [1.0] * 50))
    model = graph.model({"x": (50,)}, {"y": (np.float32, (50,))}, texts, "1")
    onnx.save(model, str(path))
    return path.read_bytes()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(texts=entries)
def test_texts_are_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("files") / "a.onnx"
    content = write_file(path, texts)
    entries = read_entries(path)
    assert {key: entry.text for key, entry in entries.items()} == texts
    for entry in entries.values():
        assert content[entry.start :].startswith(entry.text.encode())


def texts_or_error(path: Path) -> dict[str, str] | str:
    """Return the texts of a file, or the message of the error."""
    try:
        return {key: entry.text for key, entry in read_entries(path).items()}
    except CheckpointError as error:
        return str(error)


def test_a_truncated_file_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    content = write_file(path, {"key": "value" * 30})
    results = []
    for end in range(len(content)):
        path.write_bytes(content[:end])
        results.append(texts_or_error(path))
    readable = [texts for texts in results if not isinstance(texts, str)]
    # A file that is cut between two fields is valid, with less in it.
    assert len(readable) < 8
    assert all(texts in ({}, {"key": "value" * 30}) for texts in readable)
    assert all(str(path) in text for text in results if isinstance(text, str))


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60))
def test_other_files_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("files") / "a.onnx"
    path.write_bytes(content)
    assert "\n" not in texts_or_error(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a\.onnx: No such file"):
        read_entries(tmp_path / "a.onnx")
