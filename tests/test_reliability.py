"""Every row of the tables in docs/reliability.md names a test that exists."""

from __future__ import annotations

import re

from locations import ROOT
from tools.cli import COMMANDS

# A test as the page names it: its file, relative to tests/, and its function.
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")

# Every command -> the tests that it uses no result that something else has made, or why it uses
# none that was there before.
REUSE = {
    "train": "`runtime/training/test_runfolder.py::test_a_run_on_another_data_set_is_refused`, "
    "`runtime/training/test_runfolder.py::test_a_folder_of_another_run_is_refused`, "
    "`runtime/training/test_runfolder.py::test_a_run_from_other_weights_is_refused`",
    "search": "`controllers/test_study.py::test_another_search_in_the_same_folder_is_refused`, "
    "`tools/test_search_command.py::test_data_that_change_during_a_search_stop_it_and_the_trial_is_"
    "repeated`, `tools/test_search_command.py::"
    "test_a_recipe_that_is_edited_during_a_search_changes_no_trial`, `controllers/"
    "test_identity.py::test_another_reference_is_another_search`, `controllers/test_reference.py::"
    "test_weights_that_are_changed_or_removed_stop_the_search_until_they_are_restored`, "
    "`controllers/test_final.py::test_another_recipe_is_another_final`, `controllers/test_final.py"
    "::test_another_best_genome_ends_the_win_until_the_next_final`",
    "compare": "`tools/test_compare.py::"
    "test_scores_of_another_recipe_or_data_set_are_not_reused`, `tools/test_compare.py::"
    "test_other_genomes_seeds_and_more_of_them_get_runs_of_their_own`, `tools/test_compare.py::"
    "test_scores_that_cannot_be_those_of_a_run_are_made_again`",
    "fidelity": "`controllers/test_trainings.py::test_a_score_is_that_of_the_same_training_only`, "
    "`tools/test_fidelity_command.py::"
    "test_another_reference_gets_trainings_of_its_own_and_a_changed_one_none`",
    "quickstart": "`tools/test_quickstart.py::test_data_drawn_with_another_seed_are_refused`",
    "data": "writes new folders, and splits.json has the digest of its source: "
    "`runtime/data/test_divided.py::test_a_dataset_that_has_gone_or_changed_is_refused`",
    "eval": "computes all scores",
    "export": "writes the file anew",
    "predict": "writes all results anew",
    "draw": "writes the picture anew",
    "import": "writes the checkpoint anew",
    "import-config": "writes the recipe anew",
    "recipes": "writes no file",
    "archs": "writes no file",
    "bench": "measures anew",
}


def test_every_command_is_known_to_reuse_no_result_of_something_else() -> None:
    assert REUSE.keys() == COMMANDS.keys()
    named = [test for entry in REUSE.values() for test in TEST.findall(entry)]
    assert [f"{file}::{test}" for file, test in named if not exists(file, test)] == []


def test_every_fault_has_a_test_that_exists() -> None:
    rows = [
        line
        for line in (ROOT / "docs" / "reliability.md").read_text().splitlines()
        if line.startswith("|") and not line.startswith(("|---", "| fault |"))
    ]
    assert len(rows) > 30
    missing = []
    for row in rows:
        named = TEST.findall(row)
        assert named, row
        assert len(named) == row.count("::"), row  # no test is named in another form
        missing += [f"{file}::{test}" for file, test in named if not exists(file, test)]
    assert missing == []


def exists(file: str, test: str) -> bool:
    """Return whether a file under tests/ defines a test function."""
    path = ROOT / "tests" / file
    return path.is_file() and f"\ndef {test}(" in path.read_text()


def test_names_of_tests_may_have_folders() -> None:
    row = "| a fault | what happens | `runtime/data/test_coco.py::test_a`, `test_x.py::test_b` |"
    assert TEST.findall(row) == [("runtime/data/test_coco.py", "test_a"), ("test_x.py", "test_b")]
