"""Genomes on the command line: names first, then files."""

from __future__ import annotations

from pathlib import Path

import pytest

import searched_archs
from search_space.codec import save_genome
from search_space.errors import GenomeError
from tools.errors import UsageError
from tools.genomes import load_named


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_shipped_name_wins_over_a_file_and_a_path_is_a_file() -> None:
    save_genome(searched_archs.load("fpn"), "nasfpn")
    assert load_named("nasfpn") == ("nasfpn", searched_archs.load("nasfpn"))
    assert load_named("./nasfpn") == ("nasfpn", searched_archs.load("fpn"))


def test_a_name_that_does_not_exist_gets_suggestions() -> None:
    with pytest.raises(UsageError, match=r"'nasfnp'.* nasfpn"):
        load_named("nasfnp")
    with pytest.raises(UsageError, match=f"{', '.join(searched_archs.names())}, got 'x'"):
        load_named("x")


def test_a_file_that_is_no_genome_is_named(tmp_path: Path) -> None:
    Path("broken.json").write_text('{"version": 2, "levels": [3, 4], "cells": []}')
    with pytest.raises(GenomeError, match=r"broken\.json: version"):
        load_named("broken.json")
    with pytest.raises(UsageError, match=r"cannot read \.: Is a directory"):
        load_named(".")
