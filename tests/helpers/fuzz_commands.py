"""Run thousands of command lines, drawn from the parser's own options, with hostile values.

``python tests/helpers/fuzz_commands.py [COUNT] [--seed N] [--memory MB] [--only NUMBER]`` draws
command lines and runs each in a forked process, in a folder with small files of all kinds. The exit
code is 1 if a command line does something that none may do:

- end with another exit code than 0, 1, 2 or 130, print a traceback, or end by a signal;
- take longer than ``SECONDS``, or more memory than allowed;
- print more than ``LONGEST`` characters in a line on standard error;
- change a file that it may not write, or write one where no option says so.

A command that would run a network or start a process ends there, as do long drawings: what it does
before is what is tested. ``--only`` runs one command line and prints what it prints.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import os
import pkgutil
import resource
import secrets
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import mindspore
import numpy as np
from PIL import Image

import controllers
import nasfpn_runtime
import tools
from locations import TWO_LEVELS
from nasfpn_runtime.data import drawn
from tools.cli import main as run_command
from tools.cli import make_parser

SECONDS = 60  # limit for one command line
LONGEST = 3000  # characters of a line on standard error
FEW = 50  # images that a command may draw before it counts as work
CODES = (0, 1, 2, 130)
REACHED, BUG = 97, 98  # exit codes of the forked process: reached real work; an exception

WORDS = ["", " ", "-", "--", "0", "-1", "1", "2", "0.5", "-0.0", "nan", "inf", "-inf", "1e400"]
WORDS += ["99999999999999999999", "-99999999999999999999", "1" * 5000, "0x10", "1_000", "true"]
WORDS += ["x" * 5000, "a\nb", "\x1b[31mred", "é", "日本", "\ud800", "\u202e", "$\\frac{1$", "%s{0}"]
WORDS += ["null", "[", "{", "{a: 1, a: 2}", "&a [*a]", "!!python/object:os.system x", "'", "\\"]
WORDS += ["../..", ".", "a/../b", "nowhere/file", "*", "[a", "~", "a,b", "a=b", "=", "=1", "a="]
WORDS += ["x" * 300 + ".png", "3-7", "7-3", "3-99999999", "train", "val", "test", "all", "coco"]
SETTINGS = ["training.epochs=1", "training.batch=2", "model.width=4", "model.channels=8"]
SETTINGS += ["data.image=[64, 64]", "training.lr=nan", "training.batch=100000000", "model=1"]
SETTINGS += ["model.stacks=100000", "anchors.octaves=100000000", "data.image=[1000000, 1000000]"]
SETTINGS += ["training.epochs=-1", "training.epochs=1e9", "name=../../x", "name=''", "=", "a.b.c=1"]
SETTINGS += [
    "training={epochs: 1, epochs: 2}",
    "model.width=100000000",
    "training.seed=1",
    "x=&a [*a]",
]
SETTINGS += [
    "population=3",
    "population=99999999999",
    "hidden=100000000",
    "lr=0.1",
    "batch_size=1e9",
]
# Endings of the names of files that commands write.
SUFFIXES = [
    "",
    ".png",
    ".svg",
    ".pdf",
    ".yaml",
    ".ckpt",
    ".json",
    ".onnx",
    ".mindir",
    ".md",
    ".gif",
]
NUMBERS = [*WORDS[:22], "3", "5", "64", "1000000", "4294967296", str(1 << 64)]


class ReachedError(BaseException):
    """A command starts real work; no ``except Exception`` may hide it."""


@dataclass(frozen=True)
class Result:
    """What a command line did.

    Attributes:
        code: exit code; negative for a signal.
        seconds: time it took.
        megabytes: memory that it allocated.
        output: what it printed on standard output and standard error.
        errors: the part of it on standard error.
    """

    code: int
    seconds: float
    megabytes: int
    output: str
    errors: str


def write_files(folder: Path) -> None:
    """Write small files of all kinds: valid, of another kind, damaged, and devices."""
    drawn.write_shapes(folder / "shapes", train=2, val=1, test=1, size=32)
    shutil.copy(TWO_LEVELS, folder / "genome.json")
    Image.new("RGB", (32, 24), (200, 30, 30)).save(folder / "picture.png")
    (folder / "recipe.yaml").write_text("model: {width: 4, channels: 8}\ntraining: {batch: 2}\n")
    (folder / "twice.yaml").write_text("training:\n  epochs: 1\n  epochs: 2\n")
    laughs = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    (folder / "laughs.yaml").write_text("\n".join(["a0: &a0 [x]", *laughs]))
    (folder / "settings.yaml").write_text("lr: 0.1\nbatch_size: 8\n")
    (folder / "broken.json").write_text('{"version": 1, "cells": [')
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "text.txt").write_text("text\n")
    (folder / "empty").touch()
    noise = np.random.default_rng(0).bytes(5000)
    for name in ("noise.ckpt", "noise.onnx", "noise.mindir", "noise.npz", "noise.pth", "noise.mp4"):
        (folder / name).write_bytes(noise)
    shutil.copytree(folder / "shapes" / "val2017", folder / "folder")
    (folder / "hollow").mkdir()
    (folder / "out").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "link.png").symlink_to("picture.png")
    for name, minor in (("null", 3), ("zero", 5), ("full", 7)):
        try:
            os.mknod(folder / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        except OSError:  # only root may
            (folder / name).touch()


INPUTS = ["shapes", "genome.json", "picture.png", "recipe.yaml", "twice.yaml", "laughs.yaml"]
INPUTS += [
    "settings.yaml",
    "broken.json",
    "deep.json",
    "text.txt",
    "empty",
    "noise.ckpt",
    "noise.onnx",
]
INPUTS += [
    "noise.mindir",
    "noise.npz",
    "noise.pth",
    "noise.mp4",
    "folder",
    "hollow",
    "loop",
    "link.png",
]
INPUTS += ["null", "zero", "full", "shapes/annotations/instances_train2017.json", "nowhere"]
# Values that suit an option, by its metavar or else its name.
SUITABLE = {
    "GENOME": ["nasfpn", "fpn", "genome.json"],
    "GENOMES": ["none", "nasfpn", "nasfpn,genome.json", "genome.json,genome.json"],
    "RECIPE": ["shapes", "bccd-128", "recipe.yaml"],
    "SRC": ["shapes", "settings.yaml", "noise.npz"],
    "INPUT": ["picture.png", "folder", "shapes/val2017/*"],
    "A.B=C": SETTINGS,
    "KEY=VALUE": SETTINGS,
    "NAME": ["ppo", "random", "evolution", "tpe"],
    "NAME[:KEY=VALUE,...]": ["ppo", "random", "evolution:population=5", "tpe"],
    "controller": ["ppo", "random", "evolution", "gp"],
    "MODEL": ["noise.ckpt", "noise.onnx", "noise.mindir"],
    "CKPT": ["noise.ckpt"],
    "SPLIT": ["train", "val", "test"],
    "split": ["train", "val", "test"],
    "N": ["1", "2", "3"],
    "K": ["0", "2"],
    "PX": ["32"],
    "SECONDS": ["10"],
    "A-B": ["3-5", "3-7"],
    "HOST[:PORT]": ["127.0.0.1", "127.0.0.1:9"],
    "URL": ["sqlite:///out/study.db", "mysql://user:secret@127.0.0.1:1/db", "nothing://"],
    "DIR": ["shapes"],
}


def leaves(parser: argparse.ArgumentParser) -> Iterator[tuple[list[str], list[argparse.Action]]]:
    """Yield the words and the options of each command that has no commands of its own."""
    actions = [action for action in parser._actions if action.dest not in ("help", "version")]
    nested = [a for a in actions if isinstance(a, argparse._SubParsersAction)]
    if not nested:
        yield [], actions
    for action in nested:
        for name, inner in action.choices.items():
            for words, options in leaves(inner):
                yield [name, *words], options


def draw_value(rng: np.random.Generator, action: argparse.Action, number: int) -> str:
    """Return a value of an option: mostly a suitable one."""

    def one_of(values: Sequence[Any]) -> str:
        return str(values[rng.integers(len(values))])

    if "--out" in action.option_strings or action.dest in ("out", "json", "csv"):
        name = f"out/{number}{one_of(SUFFIXES)}"
        return name if rng.random() < 0.6 else one_of([*INPUTS, *WORDS, "-"])
    metavar = action.metavar[0] if isinstance(action.metavar, tuple) else action.metavar
    suitable = [*(action.choices or ())] or SUITABLE.get(metavar or action.dest, INPUTS)
    if rng.random() < 0.75:
        return one_of(suitable)
    numeric = metavar in ("N", "K", "PX", "SECONDS", "STEPS", "I", "H")
    return one_of(NUMBERS if numeric else [*INPUTS, *WORDS])


def draw_command(rng: np.random.Generator, number: int) -> list[str]:
    """Return a command line, without the name of the program."""
    commands = list(leaves(make_parser()))
    words, actions = commands[rng.integers(len(commands))]
    line, positional = list(words), []
    for action in actions:
        needed = action.required or not action.option_strings
        if rng.random() > (0.97 if needed else 0.25):
            continue
        count = {None: 1, 0: 0, "?": 1}.get(action.nargs, int(rng.integers(1, 4)))  # type: ignore[arg-type]
        count = action.nargs if isinstance(action.nargs, int) else count
        values = [draw_value(rng, action, number) for _ in range(count)]
        if not action.option_strings:
            positional += values
        elif len(values) == 1 and rng.random() < 0.5:
            line.append(f"{action.option_strings[-1]}={values[0]}")
        else:
            line += [action.option_strings[-1], *values]
    if rng.random() < 0.02:
        line.append(WORDS[rng.integers(len(WORDS))])
    return [*words, *positional, *line[len(words) :]]


def stop(*args: object, **settings: object) -> NoReturn:
    """Stand in for real work."""
    raise ReachedError


def make_work_stop() -> None:
    """Let a command end where it would run a network, start a process or draw many images."""
    mindspore.nn.Cell.__call__ = stop
    subprocess.Popen.__init__ = stop  # type: ignore[method-assign]
    original, count = drawn.draw_picture, 0

    def draw_picture(*args: Any) -> Any:
        nonlocal count
        count += 1
        return original(*args) if count <= FEW else stop()

    drawn.draw_picture = draw_picture  # type: ignore[assignment]
    imported = ("tools.bench", "nasfpn_runtime.bench.parity", "controllers.race")
    for module in map(importlib.import_module, imported):
        for name in ("_genome", "parity", "run_all"):
            if hasattr(module, name):
                setattr(module, name, stop)


def import_everything() -> None:
    """Import what commands import, so that each forked process need not."""
    for package in (nasfpn_runtime, controllers, tools):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "openvino", "mindspore_lite")):
                importlib.import_module(module.name)


def run_one(argv: Sequence[str], folder: Path, megabytes: int) -> Result:
    """Run a command line in a forked process with the folder as its current one."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if not child:
            os._exit(_run_in_child(argv, folder, megabytes, out.fileno(), errors.fileno()))
        while True:
            ended, status, usage = os.wait4(child, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > started + SECONDS:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
        out.seek(0)
        errors.seek(0)
        printed = errors.read().decode(errors="replace")
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Result(
            os.waitstatus_to_exitcode(status),
            time.monotonic() - started,
            max(0, usage.ru_maxrss - own) >> 10,
            out.read().decode(errors="replace") + printed,
            printed,
        )


def _run_in_child(argv: Sequence[str], folder: Path, megabytes: int, out: int, errors: int) -> int:
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(out, 1)
    os.dup2(errors, 2)
    os.chdir(folder)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    make_work_stop()
    try:
        code: int = run_command(list(argv))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except ReachedError:
        code = REACHED
    except BaseException:
        traceback.print_exc()
        code = BUG
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code


def snapshot(folder: Path) -> dict[str, str]:
    """Return a digest of each entry of a folder by its relative path."""
    entries = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = path.read_bytes() if stat.S_ISREG(mode) else b""
        digest = hashlib.sha256(content).hexdigest()[:12]
        entries[str(path.relative_to(folder))] = f"{stat.S_IFMT(mode):o} {digest}"
    return entries


def may_write(argv: Sequence[str], name: str, existed: bool) -> bool:
    """Return whether a command line may write an entry of the folder.

    A new one must be named in it, or be in a folder that is named or is a default. One that existed
    must be named as an output, with ``--overwrite``.
    """
    words = [part for word in argv for part in (word, word.partition("=")[2]) if part]
    named = [os.path.normpath(word) for word in words if "\0" not in word]
    inside = any(word in (name, ".") or name.startswith(f"{word}/") for word in named)
    if existed:
        return inside and "--overwrite" in argv
    # `a/../b` needs `a`, as for mkdir.
    parents = any(word.startswith(f"{name}/") for word in (*named, *words))
    first = name.split("/")[0]
    default = first in ("runs", "predictions", "out") or first.endswith(".svg")  # out: --storage
    return inside or parents or default


def faults(
    argv: Sequence[str], result: Result, before: dict[str, str], after: dict[str, str]
) -> list[str]:
    """Return what a command line did that none may do."""
    wrong = []
    if result.code not in (*CODES, REACHED):
        wrong.append(f"exit code {result.code}")
    if "Traceback (most recent call last)" in result.output:
        last = [line for line in result.errors.splitlines() if line.strip()]
        wrong.append(f"traceback: {last[-1][:200] if last else ''}")
    if result.seconds > SECONDS:
        wrong.append(f"{result.seconds:.0f} s")
    longest = max(map(len, result.errors.splitlines()), default=0)
    if longest > LONGEST:
        wrong.append(f"a line of {longest:,} characters on standard error")
    if any(c != "\n" and c != "\r" and ord(c) < 32 and c != "\t" for c in result.errors):
        wrong.append("control characters on standard error")
    for name in sorted(before.keys() | after.keys()):
        changed = before.get(name) != after.get(name)
        if changed and not may_write(argv, name, name in before):
            wrong.append(f"{name} was {'changed' if name in before else 'written'}")
    return wrong


def main() -> int:
    """Run the program; see the docstring of the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int, nargs="?", default=5000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--memory", type=int, default=3072)
    parser.add_argument("--only", type=int)
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    os.environ.setdefault("GLOG_v", "3")
    import_everything()
    tally, slowest, wrong = Counter[str](), (0.0, ""), 0
    with tempfile.TemporaryDirectory() as name:
        # So deep that `../..` leads nowhere else.
        pristine, folder = Path(name, "pristine"), Path(name, "a", "b", "c")
        pristine.mkdir()
        write_files(pristine)
        before = snapshot(pristine)
        restore(pristine, folder)
        for number in range(args.count) if args.only is None else [args.only]:
            argv = draw_command(np.random.default_rng((args.seed, number)), number)
            result = run_one(argv, folder, args.memory)
            after = snapshot(folder)
            bad = faults(argv, result, before, after)
            outside = [path for path in Path(name).rglob("*") if is_outside(path, Path(name))]
            words = [word.partition("=")[2] or word for word in argv]
            above = [folder / word for word in words if set(word) <= set("./") and ".." in word]
            allowed = {path for up in above for path in outside if up.resolve() in path.parents}
            bad += [f"{path} was written" for path in outside if path not in allowed]
            if after != before or outside:
                for path in outside:
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                restore(pristine, folder)
            tally[{REACHED: "reached real work"}.get(result.code, f"exit code {result.code}")] += 1
            slowest = max(slowest, (result.seconds, f"{number}: {shown(argv)}"))
            if args.only is not None:
                print(shown(argv), result.output, sep="\n")
            if number % 200 == 199:
                print(f"{number + 1:,} command lines, {wrong} wrong", file=sys.stderr, flush=True)
            if bad:
                wrong += 1
                print(
                    f"{number}: {shown(argv)}",
                    *(f"    {line}" for line in bad),
                    sep="\n",
                    flush=True,
                )
    for key, value in sorted(tally.items()):
        print(f"{value:6,} {key}")
    print(f"{slowest[0]:6.1f} s for the slowest, {slowest[1]}")
    print(f"{wrong:6,} wrong")
    return 1 if wrong else 0


def restore(pristine: Path, folder: Path) -> None:
    """Make a folder a copy of another one."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # `cp` copies devices and links as they are.
    command = ["cp", "-a", str(pristine), str(folder)]
    subprocess.run(command, check=True)


def is_outside(path: Path, top: Path) -> bool:
    """Return whether a path is neither in the folder of the commands nor in the pristine one."""
    parts = path.relative_to(top).parts
    return parts[0] != "pristine" and parts[:3] != ("a", "b", "c")[: len(parts[:3])]


def shown(argv: Sequence[str]) -> str:
    """Return a command line for a message, shortened."""
    text = shlex.join(["nasfpn", *(ascii(w)[1:-1] if not w.isprintable() else w for w in argv)])
    text = text.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 500 else f"{text[:500]}..."


if __name__ == "__main__":
    sys.exit(main())
