"""Checkpoint files: what is read, and what is refused without running code from it."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
from mindspore import Tensor
from numpy.typing import NDArray
from safetensors.numpy import save_file  # MindSpore requires the package

from nasfpn_runtime.errors import CheckpointError, MissingPackageError
from nasfpn_runtime.importers.readers import read_arrays

Arrays = dict[str, NDArray[Any]]
ARRAYS: Arrays = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "a.bias": np.array([1.5, -2.25], np.float16),
    "steps": np.array([3], np.int64),
}


def write_npz(path: Path, arrays: Arrays) -> None:
    np.savez(path, **arrays)


def write_safetensors(path: Path, arrays: Arrays) -> None:
    save_file(arrays, path, {"format": "np"})


def write_ckpt(path: Path, arrays: Arrays) -> None:
    mindspore.save_checkpoint(
        [{"name": n, "data": Tensor(v)} for n, v in arrays.items()], str(path)
    )


WRITERS: dict[str, Callable[[Path, Arrays], None]] = {
    ".npz": write_npz,
    ".safetensors": write_safetensors,
    ".ckpt": write_ckpt,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_written_file_is_read_unchanged(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, ARRAYS)
    arrays = read_arrays(path)
    assert arrays.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        assert arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(arrays[name], value)


def safetensors_file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a file's content; ``length`` is what it gives as the length of its header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(dtype: str, shape: list[Any], begin: int, end: int) -> dict[str, Any]:
    """Return a header with one tensor."""
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    # 1.0 is 0x3f800000, -2.5 is 0xc0200000.
    path.write_bytes(safetensors_file(tensor("BF16", [2], 0, 4), bytes.fromhex("803f20c0")))
    np.testing.assert_array_equal(read_arrays(path)["x"], np.array([1.0, -2.5], np.float32))


BROKEN_SAFETENSORS = {
    "header longer than the file": safetensors_file({}, length=1000),
    "huge header": safetensors_file({}, length=2**63),
    "no JSON": safetensors_file(b"{x"),
    "no mapping": safetensors_file([1]),
    "deep JSON": safetensors_file(b"[" * 100_000),
    "no offsets": safetensors_file({"x": {"dtype": "F32", "shape": [1]}}, b"1234"),
    "unknown type": safetensors_file(tensor("F3", [1], 0, 4), b"1234"),
    "beyond the file": safetensors_file(tensor("F32", [2], 0, 8), b"1234"),
    "wrong size": safetensors_file(tensor("F32", [2], 0, 4), b"1234"),
    "negative": safetensors_file(tensor("F32", [1], -4, 0), b"1234"),
    "negative sides": safetensors_file(tensor("F32", [-1, -1], 0, 4), b"1234"),
    "sides that are no numbers": safetensors_file(tensor("F32", ["1"], 0, 4), b"1234"),
    "no tensors": safetensors_file({"__metadata__": {}}),
}


@pytest.mark.parametrize("fault", BROKEN_SAFETENSORS)
def test_a_broken_safetensors_file_is_refused(fault: str, tmp_path: Path) -> None:
    assert_refused(tmp_path / "a.safetensors", BROKEN_SAFETENSORS[fault])


def assert_refused(path: Path, content: bytes) -> None:
    """Check that reading fails with one line that names the file."""
    path.write_bytes(content)
    # Torch is optional; without it its files are refused before they are opened.
    with pytest.raises((CheckpointError, MissingPackageError)) as caught:
        read_arrays(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_truncated_or_foreign_file_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, ARRAYS)
    content = path.read_bytes()
    for fraction in (0.0, 0.01, 0.5, 0.99):
        assert_refused(tmp_path / f"cut{suffix}", content[: int(len(content) * fraction)])
    assert_refused(tmp_path / f"text{suffix}", b"<html>404 Not Found</html>")


def test_a_mindspore_file_that_does_not_match_its_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    entries = [{"name": "a", "data": Tensor(np.array([1, 2], np.float32))}]
    mindspore.save_checkpoint(entries, str(path), crc_check=True)
    assert read_arrays(path)["a"].tolist() == [1.0, 2.0]
    path.write_bytes(
        path.read_bytes().replace(np.float32(2.0).tobytes(), np.float32(2.5).tobytes())
    )
    with pytest.raises(CheckpointError, match=r"a\.ckpt"):
        read_arrays(path)


@pytest.mark.parametrize("name", ["none.npz", "folder.pth", "a.onnx"])
def test_a_file_that_is_not_a_checkpoint_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "a.onnx").write_bytes(b"1")
    with pytest.raises(CheckpointError, match=name):
        read_arrays(tmp_path / name)


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def hostile_files(folder: Path) -> dict[str, Path]:
    """Return files that would create ``folder/victim`` if they were unpickled."""
    bomb = pickle.dumps(Touch(folder / "victim"))
    paths = {kind: folder / f"{kind}.pth" for kind in ("zip", "legacy")}
    with zipfile.ZipFile(paths["zip"], "w") as archive:  # torch's layout
        archive.writestr("archive/data.pkl", bomb)
        archive.writestr("archive/version", "3\n")
    paths["legacy"].write_bytes(bomb)
    for suffix in (".npz", ".ckpt", ".safetensors"):
        paths[suffix] = folder / f"pickle{suffix}"
        paths[suffix].write_bytes(bomb)
    paths["object array"] = folder / "object.npz"
    np.savez(paths["object array"], x=np.array([Touch(folder / "victim")], object))
    return paths


def test_no_file_can_run_code(tmp_path: Path) -> None:
    for path in hostile_files(tmp_path).values():
        assert_refused(path, path.read_bytes())
    assert not (tmp_path / "victim").exists()
    pickle.loads((tmp_path / "legacy.pth").read_bytes())
    assert (tmp_path / "victim").exists()  # so the files above would have run code


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("a.pth", "torch", "[torch]"), ("model.ckpt-7", "tensorflow", "[tf]")],
)
def test_a_missing_package_is_named_with_its_extra(
    name: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "model.ckpt-7.index").write_bytes(b"x")
    (tmp_path / "a.pth").write_bytes(b"x")
    with pytest.raises(MissingPackageError) as caught:
        read_arrays(tmp_path / name)
    assert extra in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
