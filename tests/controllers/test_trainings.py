"""The table of a study of rungs: a line counts for the same training only, and none is lost."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from controllers.errors import SearchError
from controllers.fidelity import spread
from controllers.trainings import TABLE, Rung, Score, Table, Training
from nasfpn_runtime.recipe.recipe import load_recipe
from search_space import genome_id
from synthetic import SPACE

GENOMES = spread(SPACE, 4)
ARGUMENTS = {
    "recipe": load_recipe("shapes-warm").to_dict(),
    "data": "anywhere",
    "digests": {"train": "v1:a", "val": "v1:b"},
    "device": "CPU",
}
RUNG = Rung("warm", ARGUMENTS)
TRAINING = Training(RUNG, GENOMES[0], 0)
SCORE = Score(0.25, 12.5)


def changed(**values: Any) -> Training:
    """Return the training with other arguments; ``epochs`` and ``description`` of its recipe."""
    arguments = copy.deepcopy(ARGUMENTS)
    recipe: Any = arguments["recipe"]
    if "epochs" in values:
        recipe["training"]["epochs"] = values.pop("epochs")
    if "description" in values:
        recipe["description"] = values.pop("description")
    return Training(Rung("warm", {**arguments, **values}), GENOMES[0], 0)


def test_a_score_is_that_of_the_same_training_only(tmp_path: Path) -> None:
    Table(tmp_path / TABLE).add(TRAINING, SCORE)
    table = Table(tmp_path / TABLE)
    same = [
        TRAINING,
        Training(Rung("another name", ARGUMENTS), GENOMES[0], 0),
        changed(description="other words"),
        changed(data="elsewhere"),
    ]
    assert [table.score(training) for training in same] == [SCORE] * len(same)
    others = [
        Training(RUNG, GENOMES[1], 0),
        Training(RUNG, GENOMES[0], 1),
        changed(epochs=4),
        changed(digests={"train": "v1:a", "val": "v1:c"}),
        changed(init={"digest": "0f"}),
    ]
    assert [table.score(training) for training in others] == [None] * len(others)
    folders = {training.folder for training in (TRAINING, *others)}
    assert len(folders) == len(others) + 1


def test_a_line_from_before_a_setting_existed_has_its_default(tmp_path: Path) -> None:
    Table(tmp_path / TABLE).add(TRAINING, SCORE)
    line = json.loads((tmp_path / TABLE).read_text())
    assert line["recipe"]["data"].pop("background") == 0.0
    (tmp_path / TABLE).write_text(json.dumps(line) + "\n")
    assert Table(tmp_path / TABLE).score(TRAINING) == SCORE


def test_a_line_says_what_it_is_of(tmp_path: Path) -> None:
    Table(tmp_path / TABLE).add(changed(init={"digest": "0f"}), SCORE)
    line = json.loads((tmp_path / TABLE).read_text())
    assert line["genome"] == genome_id(GENOMES[0])
    shown = {key: line[key] for key in ("rung", "AP", "seconds", "seed", "reference")}
    assert shown == {"rung": "warm", "AP": 0.25, "seconds": 12.5, "seed": 0, "reference": "0f"}
    assert line["recipe"]["training"]["epochs"] == ARGUMENTS["recipe"]["training"]["epochs"]  # type: ignore[index]


def test_every_cut_of_the_file_keeps_the_whole_lines_and_is_gone_on_with(tmp_path: Path) -> None:
    """A kill, or a full disk, cuts the last line off anywhere."""
    trainings = [Training(RUNG, genome, 0) for genome in GENOMES[:3]]
    whole = Table(tmp_path / TABLE)
    for training in trainings[:2]:
        whole.add(training, SCORE)
    content = (tmp_path / TABLE).read_bytes()
    second = content.index(b"\n") + 1
    ends = [*range(0, len(content), 97), second - 1, second, len(content) - 1, len(content)]
    for end in ends:
        (tmp_path / TABLE).write_bytes(content[:end])
        table = Table(tmp_path / TABLE)
        kept = [training for training in trainings if table.score(training)]
        # Without its line end, the last line can still be read.
        assert kept == trainings[: (end >= second - 1) + (end >= len(content) - 1)], end
        assert table.damaged == []
        table.add(trainings[2], SCORE)
        again = Table(tmp_path / TABLE)
        assert [t for t in trainings if again.score(t)] == [*kept, trainings[2]], end


@pytest.mark.parametrize(
    "change",
    [
        lambda line: "no line",
        lambda line: "[1, 2]",
        lambda line: line.replace('"AP": 0.25', '"AP": 25.0'),
        lambda line: line.replace('"AP": 0.25', '"AP": NaN'),
        lambda line: line.replace('"AP": 0.25', '"AP": "high"'),
        lambda line: line.replace('"AP": 0.25', '"AP": true'),
        lambda line: line.replace('"seconds": 12.5', '"seconds": Infinity'),
        lambda line: line.replace('"recipe"', '"recipes"'),
        lambda line: re.sub(r'"recipe": \{', '"recipe": 3, "other": {', line),
    ],
)
def test_a_damaged_line_is_named_and_its_training_is_missing(
    change: Callable[[str], str], tmp_path: Path
) -> None:
    table = Table(tmp_path / TABLE)
    for genome in GENOMES[:3]:
        table.add(Training(RUNG, genome, 0), SCORE)
    lines = (tmp_path / TABLE).read_text().splitlines()
    lines[1] = change(lines[1])
    (tmp_path / TABLE).write_text("\n".join(lines) + "\n")
    table = Table(tmp_path / TABLE)
    assert table.damaged == [2]
    assert [table.score(Training(RUNG, g, 0)) for g in GENOMES[:3]] == [SCORE, None, SCORE]


def test_the_digest_of_a_reference_is_kept_with_what_it_is_of(tmp_path: Path) -> None:
    one, other = ({"genome": "0a", "recipe": ARGUMENTS["recipe"], "seed": s} for s in (0, 1))
    record = Table(tmp_path / TABLE).record_of(one)
    assert record.read() is None
    record.write("0f")
    assert record.read() == "0f"
    table = Table(tmp_path / TABLE)
    assert (table.record_of(one).read(), table.record_of(other).read()) == ("0f", None)
    assert not table.warm
    table.add(changed(init={"digest": "0f"}), SCORE)
    assert Table(tmp_path / TABLE).warm


def test_a_full_disk_is_one_line_and_loses_no_score(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    table = Table(tmp_path / TABLE)
    with full_disk(), pytest.raises(SearchError, match=rf"cannot write {tmp_path / TABLE}"):
        table.add(TRAINING, SCORE)
    table = Table(tmp_path / TABLE)
    assert table.score(TRAINING) is None
    table.add(TRAINING, SCORE)
    assert Table(tmp_path / TABLE).score(TRAINING) == SCORE
