"""Options that several commands share: one name, one meaning, one check."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasfpn_runtime.cluster.device import set_device
from nasfpn_runtime.inference.engines.registry import ENGINES
from tools import options
from tools.cli import main, make_parser

# Commands that write, with what they need besides -o.
WRITING = [
    "draw fpn",
    "train --arch fpn --data d",
    "search --data d --recipe shapes",
    "compare --data d",
    "quickstart",
    "import a.pth --source mmdet",
    "import-config a.yaml",
    "export a.ckpt --format onnx",
    "predict a.ckpt a.png",
    "data show d",
    "data split d",
    "data convert d --form voc",
    "data create d",
    "fidelity --data d --recipe shapes --rung a=shapes-proxy",
]


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("option", ["-o", "--out"])
def test_every_command_that_writes_has_the_option_out(command: str, option: str) -> None:
    args = make_parser().parse_args([*command.split(), option, "there"])
    assert Path(args.out) == Path("there")


@pytest.mark.parametrize("command", WRITING)
def test_an_output_without_a_name_is_refused(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unset variable of a shell would otherwise be the current folder."""
    with pytest.raises(SystemExit, match="2"):
        main([*command.split(), "--out", ""])
    assert "--out: must be a path, got ''" in capsys.readouterr().err


def test_the_old_name_of_the_output_of_draw_works_and_warns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fpn.svg"
    assert main(["draw", "fpn", "--output", str(path)]) == 0
    assert path.stat().st_size > 1000
    assert "--output is now -o or --out" in capsys.readouterr().err
    assert main(["draw", "--help"]) == 0
    assert "--output" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        "train --arch fpn --data d",
        "search --data d --out o --recipe shapes",
        "eval --data d --checkpoint a.ckpt",
        "export a.ckpt --format onnx",
        "predict a.ckpt a.png",
    ],
)
def test_a_device_is_one_of_the_runtime_s(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for device in options.DEVICES:
        args = make_parser().parse_args([*command.split(), "--device", device])
        assert args.device == device
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--device", "TPU"])
    assert stop.value.code == 2
    assert "'TPU'" in capsys.readouterr().err
    with pytest.raises(ValueError, match=f"{' or '.join(options.DEVICES)}, got 'TPU'"):
        set_device("TPU")


def test_engines_are_those_of_the_runtime() -> None:
    assert set(options.ENGINES) == {name for names in ENGINES.values() for name in names}


@pytest.mark.parametrize(
    "command",
    [
        "train --arch fpn --data d --seed",
        "data synth d --seed",
        "data split d -o o --seed",
        "search --data d --out o --recipe shapes --seed",
        "quickstart --seed",
        "compare --data d --out o --seeds 0",
    ],
)
@pytest.mark.parametrize("value", ["-1", "x", str(1 << 64)])
def test_a_seed_is_checked_by_every_command(
    command: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), value])
    assert stop.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "--seed" in error
    assert error.endswith(f"from 0 to 18,446,744,073,709,551,615, got {value}")
    # People use times and hashes as seeds; earlier versions had no upper limit.
    for seed in (0, 20261125093045, (1 << 64) - 1):
        args = make_parser().parse_args([*command.split(), str(seed)])
        assert seed in (getattr(args, "seed", None), *getattr(args, "seeds", ()))
