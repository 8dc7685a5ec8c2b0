"""The checksum of exported files: damage is refused, and files without one are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from mindspore.train.mind_ir_pb2 import ModelProto

from nasfpn_runtime import Detector
from nasfpn_runtime.bench.parity import pictures, write_random
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.export.exporter import ExportRequest, export
from nasfpn_runtime.inference.checksum import KEY
from nasfpn_runtime.inference.description import ENTRY, STRIDE
from nasfpn_runtime.inference.engines.registry import ENGINES
from nasfpn_runtime.inference.metadata import read_entries
from small_networks import GENOME, small_recipe
from tools.cli import main

EXPORTED = sorted(ENGINES.keys() - {".ckpt"})
PLACES = 150  # of each kind of damage in each format


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An exported file of each format, by suffix."""
    folder = tmp_path_factory.mktemp("exported")
    write_random(folder / "a.ckpt", small_recipe(), GENOME)
    for suffix in EXPORTED:
        request = ExportRequest(suffix.removeprefix("."))
        export(folder / "a.ckpt", folder / f"a{suffix}", request, pictures()[:1])
    return {suffix: folder / f"a{suffix}" for suffix in EXPORTED}


def flip(content: bytearray, place: int, rng: np.random.Generator) -> None:
    """Flip one bit."""
    content[place] ^= 1 << int(rng.integers(8))


def replace_byte(content: bytearray, place: int, rng: np.random.Generator) -> None:
    """Replace one byte by any other."""
    content[place] ^= int(rng.integers(1, 256))


def zero(content: bytearray, place: int, rng: np.random.Generator) -> None:
    """Set 4,000 bytes to zero."""
    content[place : place + 4000] = bytes(len(content[place : place + 4000]))


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, replace_byte, zero])
@pytest.mark.parametrize("suffix", EXPORTED)
def test_damage_anywhere_is_refused(
    files: dict[str, Path],
    suffix: str,
    damage: Callable[[bytearray, int, np.random.Generator], None],
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng([EXPORTED.index(suffix), len(damage.__name__)])
    intact = files[suffix].read_bytes()
    description = intact.index(b'{"form"')  # hit as often as the rest, though it is short
    places = [*rng.integers(len(intact), size=PLACES)]
    places += [*(description - 30 + rng.integers(400, size=PLACES))]
    path = tmp_path / f"damaged{suffix}"
    for place in map(int, places):
        content = bytearray(intact)
        damage(content, place, rng)
        if content == intact:
            continue
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"damaged\{suffix}") as refusal:
            Detector.load(path)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("suffix", EXPORTED)
def test_the_commands_refuse_a_damaged_file(
    files: dict[str, Path],
    suffix: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / f"damaged{suffix}"
    content = bytearray(files[suffix].read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    path.write_bytes(content)
    shapes = tmp_path / "shapes"
    write_shapes(shapes, train=1, val=2, test=1, size=64)
    for command in (
        ["eval", "--checkpoint", str(path), "--data", str(shapes)],
        ["predict", str(path), str(shapes / "val2017"), "-o", str(tmp_path / "out")],
    ):
        assert main(command) == 2
        assert f"{path}: its content does not match the checksum" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", EXPORTED)
def test_a_file_has_its_stride_as_plain_text(files: dict[str, Path], suffix: str) -> None:
    entries = read_entries(files[suffix])
    assert entries.keys() == {ENTRY, STRIDE}
    assert entries[STRIDE].text == "32"  # of level 5, the coarsest of the genome


@pytest.mark.parametrize("suffix", EXPORTED)
def test_a_file_of_an_earlier_version_is_read(
    files: dict[str, Path], suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"old{suffix}"
    model = onnx.ModelProto() if suffix == ".onnx" else ModelProto()
    model.ParseFromString(files[suffix].read_bytes())
    if suffix == ".onnx":
        (entry,) = (entry for entry in model.metadata_props if entry.key == ENTRY)
        model.metadata_props.remove(next(e for e in model.metadata_props if e.key == STRIDE))
        content = json.loads(entry.value)
    else:
        del model.user_info[STRIDE]
        content = json.loads(model.user_info[ENTRY])
    del content[KEY]
    for form, readable in ((2, False), (1, True)):
        text = json.dumps({**content, "form": form})
        if suffix == ".onnx":
            entry.value = text
        else:
            model.user_info[ENTRY] = text
        path.write_bytes(model.SerializeToString())
        if readable:
            assert Detector.load(path).names == Detector.load(files[suffix]).names
        else:
            with pytest.raises(CheckpointError, match=rf"old\{suffix} .*{KEY}"):
                Detector.load(path)
