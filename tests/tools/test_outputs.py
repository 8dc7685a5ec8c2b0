"""What every command does to the files that are where it would write.

The tables below have every option that names an output; a command that is missing fails.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import predict_stub
import searched_archs
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.export import exporter
from nasfpn_runtime.importers import convert
from nasfpn_runtime.inference.detector import Detector
from search_space.codec import save_genome
from tools import export
from tools.cli import main, make_parser

RED = Image.new("RGB", (60, 40), (255, 0, 0))


@dataclass(frozen=True)
class Case:
    """A command line without its output, and one of the files that it reads.

    Attributes:
        words: the command line; ``{source}`` is the path of the input, ``{data}`` of a dataset.
        source: name of the input, with a suffix that an output of the command may have.
        make: makes the input.
    """

    words: str
    source: str
    make: Callable[[Path], object]


def write_genome(path: Path) -> None:
    save_genome(searched_archs.load("fpn"), path)


def write_image(path: Path) -> None:
    RED.save(path, "PNG")


RACE = "bench controllers --controllers random --trials 1 --seeds 3 --sizes 0 --processes 1"
FILES = {
    "draw --out": Case("draw {source}", "in.svg", write_genome),
    "data show --out": Case("data show {data}", "data/train2017/000001.png", lambda path: None),
    "import --out": Case("import {source} --source mmdet", "in.ckpt", lambda p: p.touch()),
    "import-config --out": Case("import-config {source}", "in.yaml", lambda p: p.write_text("{}")),
    "export --out": Case("export {source} --format onnx", "in.onnx", lambda p: p.touch()),
    "bench --out": Case(RACE, "out.svg", lambda path: None),
    "bench --json": Case(RACE, "out.json", lambda path: None),
    "predict --json": Case("predict m.onnx {source} --no-pictures", "in.png", write_image),
}
# The rule for folders -> a command line, and files of something else that it would write.
FOLDERS = {
    "train --out": (
        "train --arch fpn --data {data} --recipe shapes",
        "config.yaml run.json metrics.jsonl train.log checkpoints/last.ckpt figures/curves.svg",
    ),
    "search --out": (
        "search --data {data} --recipe shapes-proxy",
        "config.yaml best.json trials/0/log reference/log final/1/log figures/search.svg "
        "figures/best.svg figures/final.svg",
    ),
    "compare --out": (
        "compare --data {data} --controllers --archs fpn",
        "table.md searches.svg fpn/seed0/run.json",
    ),
    "fidelity --out": (
        "fidelity --data {data} --recipe shapes --rung a=shapes-warm+warm",
        "table.md runs/a/log reference/log",
    ),
    "quickstart --out": ("quickstart", "difference.svg data/annotations/instances_train2017.json"),
    "data split --out": ("data split {data} --from train", "splits.json"),
    "data convert --out": ("data convert {data} --form yolo", "data.yaml"),
    "data create --out": ("data create {data}", "faults.txt"),
    "predict --out": ("predict m.onnx {source}", "in.png"),
}
file_commands = pytest.mark.parametrize("option", FILES)
commands_with_input = pytest.mark.parametrize(
    "option", [option for option, case in FILES.items() if "{" in case.words]
)
folder_commands = pytest.mark.parametrize("option", FOLDERS)


def parsers(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the parsers of all commands, and of their commands, with their names."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in inner:
        for word, command in action.choices.items():
            yield from parsers(command, f"{name} {word}".strip())
    if not inner:
        yield name, parser


def test_the_tables_have_every_option_that_names_an_output() -> None:
    outputs, overwriting = set(), set()
    for name, parser in parsers(make_parser()):
        options = {word for action in parser._actions for word in action.option_strings}
        outputs |= {f"{name} {word}" for word in options & {"--out", "--json"}}
        overwriting |= {name} if "--overwrite" in options else set()
    assert outputs == FILES.keys() | FOLDERS.keys()
    assert overwriting == {option.rpartition(" ")[0] for option in FILES}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a dataset, in which the slow parts of the commands are stubs."""

    def stub_export(source: Path, out: Path, *args: object) -> Any:
        out.write_text("exported")
        return SimpleNamespace(path=out)

    def stub_convert(path: Path, source: str, out: Path, *args: object, **options: object) -> Any:
        out.write_text("converted")
        return SimpleNamespace(mapped={}, ignored=(), unexpected=(), missing=())

    monkeypatch.setattr(exporter, "export", stub_export)
    monkeypatch.setattr(export, "replace", lambda report, **changes: report)
    monkeypatch.setattr(export, "_print", lambda *args: None)
    monkeypatch.setattr(convert, "convert", stub_convert)
    monkeypatch.setattr(Detector, "load", lambda *_, **options: predict_stub.detector())
    write_shapes(tmp_path / "data", train=2, val=2, test=2, size=32)
    monkeypatch.chdir(tmp_path)
    for case in FILES.values():
        case.make(Path(case.source))
    return tmp_path


def run(option: str, out: str | Path, *more: str) -> int:
    command, name = option.rpartition(" ")[::2]
    if option in FILES:
        case = FILES[option]
        words, source = case.words, case.source
    else:
        words, source = FOLDERS[option][0], "in.png"
    assert words.startswith(command)
    line = words.format(source=source, data="data").split()
    return main([*line, name, str(out), *more])


def tree(folder: Path) -> dict[str, object]:
    """Return what is in a folder: content, target or type by name, and which file it is."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content: object = stat.S_IFMT(status.st_mode)
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = (status.st_ino, content)
    return found


def refuse(option: str, out: str | Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """Run a command, check that it changes nothing and prints one line, and return that line."""
    before = tree(Path())
    assert run(option, out, *more) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    after = tree(Path())
    for name in (".lock",):  # a lock in a run folder is no result
        after = {path: value for path, value in after.items() if Path(path).name != name}
    assert after == before
    line = error.splitlines()[-1]
    assert line.startswith("nasfpn: error: ")
    return line


def suffix(option: str) -> str:
    return Path(FILES[option].source).suffix


@pytest.mark.slow
@file_commands
def test_a_new_file_is_written_once_unless_overwrite_is_given(
    option: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path("new", "folder", f"out{suffix(option)}")
    assert run(option, out) == 0
    content = out.read_bytes()
    assert content
    out.write_text("of something else")
    line = refuse(option, out, capsys)
    assert str(out) in line
    assert "--overwrite" in line
    assert run(option, out, "--overwrite") == 0
    assert out.read_bytes() == content
    assert os.listdir(out.parent) == [out.name]


@commands_with_input
@pytest.mark.parametrize("link", ["itself", "hard", "soft", "link to its folder"])
def test_an_input_is_never_an_output(
    option: str, link: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(FILES[option].source)
    out = Path(f"link{source.suffix}")
    if link == "itself":
        out = source
    elif link == "hard":
        out.hardlink_to(source)
    elif link == "soft":
        out.symlink_to(source)
    else:
        Path("folder").symlink_to(source.parent)
        out = Path("folder", source.name)
    for more in ((), ("--overwrite",)):
        line = refuse(option, out, capsys, *more)
        assert str(out) in line
        assert "input" in line


@file_commands
def test_folders_links_and_devices_stay(
    option: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{kind}{suffix(option)}" for kind in ("folder", "link", "dangling")]
    Path(names[0]).mkdir()
    Path("elsewhere").write_text("mine")
    Path(names[1]).symlink_to("elsewhere")
    Path(names[2]).symlink_to("nowhere")
    for name in (*names, f"elsewhere/x{suffix(option)}"):
        for more in ((), ("--overwrite",)):
            assert name.partition("/")[0] in refuse(option, name, capsys, *more)


@file_commands
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_pipe_is_written_to(option: str, overwrite: tuple[str, ...], work: Path) -> None:
    pipe = Path(f"pipe{suffix(option)}")
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert run(option, pipe, *overwrite) == 0
    reader.join(10)
    assert len(received[0]) > 0
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


@file_commands
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_dev_null_stays_a_device(option: str, overwrite: tuple[str, ...], work: Path) -> None:
    null = Path(f"null{suffix(option)}")
    null.symlink_to("/dev/null")
    assert run(option, null, *overwrite) == 0
    assert null.is_symlink()
    # Of its own name only JSON goes there: the other outputs need a suffix.
    assert run(option, "/dev/null", *overwrite) == (0 if option.endswith("--json") else 2)
    assert stat.S_ISCHR(os.lstat("/dev/null").st_mode)
    assert not [path for path in Path("/dev").iterdir() if "null." in path.name]


@pytest.mark.parametrize("target", ["-", "/dev/stdout", "/dev/fd/1"])
def test_results_go_to_standard_output_even_if_it_is_a_file(
    target: str, work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("predict --json", target) == 0
    assert len(json.loads(capfd.readouterr().out)) == 1


@pytest.mark.slow
@folder_commands
def test_a_folder_with_files_of_something_else_is_refused(
    option: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in FOLDERS[option][1].split():
        Path("out", name).parent.mkdir(parents=True)
        Path("out", name).write_text("mine")
        assert "out" in refuse(option, "out", capsys)
        shutil.rmtree("out")


def test_a_table_of_something_else_stays_beside_runs_of_train(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`train -o out/fpn/seed0` leaves what a comparison leaves, too."""
    Path("out/fpn/seed0").mkdir(parents=True)
    Path("out/fpn/seed0/run.json").write_text("{}")
    Path("out/table.md").write_text("# mine")
    assert "out/table.md" in refuse("compare --out", "out", capsys)


@pytest.mark.slow
@folder_commands
def test_a_folder_is_not_put_in_place_of_a_file(
    option: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("mine")
    os.mkfifo("pipe")
    Path("link").symlink_to("file")
    Path("dangling").symlink_to("nowhere/at/all")
    for out in ("file", "pipe", "link", "dangling", "/dev/null", "file/in"):
        assert out.partition("/in")[0] in refuse(option, out, capsys)


def test_overwrite_replaces_pictures_but_no_input(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out").mkdir()
    for name in ("in.png", "other.png"):
        Path("out", name).write_text("mine")
    assert run("predict --out", "out", "--overwrite") == 0
    assert Image.open("out/in.png").size == RED.size
    assert Path("out/other.png").read_text() == "mine"
    # In place: from the command line, and from a list whose names are not known at first.
    assert "in.png" in refuse("predict --out", ".", capsys, "--overwrite")
    for more in (["-o", "."], ["--no-pictures", "--json", "in.png"]):
        before = tree(Path())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"in.png\n")))
        assert main(["predict", "m.onnx", "-", "--overwrite", *more]) == 2
        assert "in.png" in capsys.readouterr().err.splitlines()[-1]
        assert tree(Path()) == before


def test_results_are_not_put_where_a_picture_will_be(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for json_file in ("out/in.png", "out/in.png/x", "out", "./out/../out"):
        assert main(["predict", "m.onnx", "in.png", "-o", "out", "--json", json_file]) == 2
        assert json_file.removeprefix("./") in capsys.readouterr().err
        assert not Path("out").exists()
    assert main(["predict", "m.onnx", "in.png", "-o", "out/a", "--json", "out"]) == 2
    assert not Path("out").exists()
    assert main(["predict", "m.onnx", "in.png", "-o", "out", "--json", "out/found.json"]) == 0


def test_a_recipe_is_not_replaced_by_the_settings_of_its_run(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    Path("out/config.yaml").write_text("# mine\ntraining: {epochs: 1}\n")
    words = "train --arch fpn --data data --recipe out/config.yaml -o out"
    before = tree(Path())
    assert main(words.split()) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "out/config.yaml" in error
    assert "input" in error
    assert tree(Path()) == before


def test_a_model_is_an_input_too(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        "predict m.json {image} --no-pictures --json m.json",
        "import a.npz --source mmdet --categories m.ckpt -o m.ckpt",
        "import prefix --source tf -o prefix.data-0.ckpt",
        "export data/annotations/a.ckpt --format onnx --data data -o data/m.onnx",
        "draw fpn m.svg -o m.svg",
    ):
        out = words.split()[-1]
        write_genome(Path(out))
        write_image(Path("in.image"))
        before = tree(Path())
        assert main([*words.format(image="in.image").split(), "--overwrite"]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "input" in error
        assert out in error
        assert tree(Path()) == before
