"""``nasfpn draw``: files, their names, and mistakes."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

import searched_archs
from search_space.codec import save_genome
from tools import draw
from tools.errors import user_errors


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    draw.add_arguments(parser)
    return draw.run(parser.parse_args(list(words)))


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_shipped_name_a_file_and_their_difference(capsys: pytest.CaptureFixture[str]) -> None:
    save_genome(searched_archs.load("fpn"), "mine.json")
    for words, expected in (
        (["nasfpn"], "nasfpn.svg"),
        (["mine.json", "-o", "picture.png"], "picture.png"),
        (["nasfpn", "mine.json"], "nasfpn-vs-mine.svg"),
    ):
        assert run(*words) == 0
        assert capsys.readouterr().out == f"{expected}\n"
        assert Path(expected).stat().st_size > 1000


@pytest.mark.slow
def test_all_draws_every_shipped_genome(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--all", "-o", "all.svg") == 0
    assert capsys.readouterr().out == "all.svg\n"
    text = Path("all.svg").read_text()
    assert all(f"<!-- {name} -->" in text for name in searched_archs.names())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--all.*got nothing"),
        (["fpn", "--all"], "got fpn --all"),
        (["fpn", "fpn", "fpn"], "got fpn fpn fpn"),
        (["nasfnp"], "got 'nasfnp'.* nasfpn"),
        (["fpn", "-o", "fpn.gif"], r"\.pdf, \.png, \.svg, got '\.gif'"),
        (["fpn", "-o", "broken.json/a.svg"], r"cannot write broken\.json/a\.svg: broken\.json "),
        (["."], r"cannot read \.: Is a directory"),
        (["broken.json"], r"broken\.json: version"),
    ],
)
def test_mistakes_are_user_errors(words: list[str], message: str) -> None:
    Path("broken.json").write_text('{"version": 2, "levels": [3, 4], "cells": []}')
    with pytest.raises(user_errors(), match=message):
        run(*words)
    assert not list(Path().glob("*.svg"))
