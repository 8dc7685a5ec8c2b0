"""The shipped genomes: connections as published, ids, names, and the table of the README."""

from __future__ import annotations

from collections import Counter

import pytest

import searched_archs
from locations import ROOT
from search_space import (
    DetectorShape,
    GenomeError,
    NASFPNSpace,
    detector_cost,
    genome_id,
    to_tf_blocks,
)

FOLDER = ROOT / "searched_archs"

# Ids are stored in checkpoints and studies, so they must never change. The first 16 digits.
IDS = {
    "bifpn": "8683d88366047db5",
    "figure7b": "7f4533c1d5409e68",
    "figure7c": "77c724cd5d9471a3",
    "figure7e": "8fc066fdf09b8258",
    "fpn": "43ad662940e382d4",
    "fully-connected": "6bfe898851aa83ff",
    "nasfpn": "9478b9903294de02",
    "panet": "0fc6f8d3d1e6a8ff",
}


def test_the_published_cell() -> None:
    # NAS-FPN paper, figure 6; tensorflow/tpu nasfpn.py, build_block_specs.
    genome = searched_archs.load("nasfpn")
    assert to_tf_blocks(genome) == [
        (4, "attention", (1, 3), False),
        (4, "sum", (1, 5), False),
        (3, "sum", (0, 6), True),
        (4, "sum", (6, 7), True),
        (5, "attention", (7, 8), True),
        (7, "attention", (6, 9), True),
        (6, "attention", (9, 10), True),
    ]
    assert genome.leftovers() == {9: (2,), 10: (4,)}  # P5 and P7: dashed lines in the paper


def test_ids_never_change() -> None:
    names = searched_archs.names()
    assert {name: genome_id(searched_archs.load(name))[:16] for name in names} == IDS


def test_members_of_the_papers_space() -> None:
    space = NASFPNSpace()
    members = {name for name in searched_archs.names() if space.contains(searched_archs.load(name))}
    assert members == {"nasfpn", "figure7b", "figure7c", "figure7e"}


def test_leftovers_of_the_figure_genomes() -> None:
    # As drawn in figure 7, except P4 into the P4 output (node 7) of figure 7c.
    leftovers = {name: searched_archs.load(name).leftovers() for name in searched_archs.names()}
    assert leftovers["figure7b"] == {7: (0,), 9: (1,)}
    assert leftovers["figure7c"] == {7: (1,), 10: (0,)}
    assert leftovers["figure7e"] == {8: (1, 5)}
    assert [leftovers[n] for n in ("fpn", "panet", "bifpn", "fully-connected")] == [{}] * 4


def test_hand_made_pyramids() -> None:
    fpn, panet, bifpn, full = (
        searched_archs.load(name) for name in ("fpn", "panet", "bifpn", "fully-connected")
    )
    # Three nodes of BiFPN also read the input of their level.
    assert Counter(len(cell.inputs) for cell in bifpn.cells) == {2: 5, 3: 3}
    assert {cell.op for cell in bifpn.cells} == {"weighted"}
    skips = {4: 1, 5: 2, 6: 3}
    for a, b in zip(panet.cells, bifpn.cells, strict=True):
        extra = set(b.inputs) - set(a.inputs)
        assert a.level == b.level
        assert extra in (set(), {skips.get(int(a.level))})
    assert [cell.level for cell in fpn.cells] == [6, 5, 4, 3, 7]
    assert fpn.cells[:4] == panet.cells[:4]
    assert all(cell.inputs == (0, 1, 2, 3, 4) for cell in full.cells)


def test_names_load_info() -> None:
    names = searched_archs.names()
    assert names == tuple(sorted(names))
    assert {f"{name}.json" for name in names} == {path.name for path in FOLDER.glob("*.json")}
    assert len({genome_id(searched_archs.load(name)) for name in names}) == len(names)
    for name in names:
        info = searched_archs.info(name)
        assert info.name == name
        assert info.title
        assert info.source
        assert (info.published_ap is None) == (info.published_on == "")


@pytest.mark.parametrize("ask", [searched_archs.load, searched_archs.info])
def test_an_unknown_name_is_answered_with_the_nearest(ask: object) -> None:
    with pytest.raises(GenomeError, match=r"bifpn, .* got 'nas-fpn' .*nasfpn\?$"):
        ask("nas-fpn")  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"bifpn, .* got '\.\./nasfpn'"):
        ask("../nasfpn")  # type: ignore[operator]


def test_the_readme_table_agrees_with_the_code() -> None:
    rows = {}
    for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines():
        columns = [column.strip() for column in line.split("|")[1:-1]]
        if columns and columns[0].startswith("`"):
            rows[columns[0].strip("`")] = columns[1:]
    assert set(rows) == set(searched_archs.names())
    for name, (title, _, ap, parameters, macs) in rows.items():
        info = searched_archs.info(name)
        cost = detector_cost(searched_archs.load(name), DetectorShape())
        assert title == info.title
        assert ap.split()[0] == f"{info.published_ap:.1f}"
        assert (parameters, macs) == (
            f"{cost.parameters / 1e6:.1f} M",
            f"{cost.macs / 1e9:.1f} G",
        )
