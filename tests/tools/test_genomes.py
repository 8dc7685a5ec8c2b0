"""Genomes on the command line: names first, then files."""

from __future__ import annotations

from pathlib import Path

import pytest

import searched_archs
from search_space.codec import save_genome
from search_space.errors import GenomeError
from search_space.identity import genome_id
from tools.errors import UsageError
from tools.genomes import load_all, load_named, run_folder


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


def test_files_of_one_stem_are_named_as_given() -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        save_genome(searched_archs.load("fpn"), f"{folder}/best.json")
    save_genome(searched_archs.load("fpn"), "nasfpn.json")
    save_genome(searched_archs.load("fpn"), "ppo winner")
    save_genome(searched_archs.load("fpn"), "mine.json")
    texts = ["a/best.json", "b/best.json", "nasfpn", "nasfpn.json", "ppo winner", "mine.json"]
    genomes = load_all([*texts, "mine.json"], ["ppo winner", "random winner"])
    own = ["a/best.json", "b/best.json", "nasfpn", "nasfpn.json", "./ppo winner", "mine"]
    assert list(genomes) == own
    stems = ["best", "best", "nasfpn", "nasfpn", "ppo winner", "mine"]
    assert [stem for stem, _ in genomes.values()] == stems


@pytest.mark.parametrize("inside", ["", "seed3/"])
def test_a_genome_does_not_get_the_run_folder_of_another(tmp_path: Path, inside: str) -> None:
    fpn, panet = searched_archs.load("fpn"), searched_archs.load("panet")
    folder = tmp_path / "best"
    assert run_folder(folder, fpn) == folder
    beside = tmp_path / f"best-{genome_id(panet)[:8]}"
    assert run_folder(folder, panet, {folder: fpn}) == beside
    (folder / inside).mkdir(parents=True)
    save_genome(fpn, folder / inside / "genome.json")
    assert run_folder(folder, fpn) == folder
    assert run_folder(folder, panet) == beside
    (folder / inside / "genome.json").write_text("{")
    assert run_folder(folder, panet) == beside
