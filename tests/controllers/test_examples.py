"""The examples in the docstrings of the samplers and in the README run."""

from __future__ import annotations

import doctest
import re
import textwrap
from typing import Any

import pytest

import controllers
from controllers import create_sampler
from locations import ROOT
from searches import ask_and_tell, new_study
from synthetic import SPACE


@pytest.mark.slow
@pytest.mark.parametrize("name", controllers.names())
def test_the_example_of_a_sampler_runs(name: str) -> None:
    sampler = type(create_sampler(name, SPACE))
    (example,) = doctest.DocTestFinder(recurse=False).find(sampler, sampler.__name__, globs={})
    assert len(example.examples) >= 7
    assert example.examples[-1].want  # it ends with a result that is compared
    report: list[str] = []
    failed, _ = doctest.DocTestRunner().run(example, out=report.append)
    assert not failed, "".join(report)


README = (ROOT / "controllers" / "README.md").read_text()


def test_the_controller_of_the_readme_works_and_learns() -> None:
    (code,) = re.findall(r"^   ```python\n(.*?)^   ```", README, re.MULTILINE | re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(textwrap.dedent(code), namespace)
    study = new_study(namespace["GreedySampler"](SPACE, 0, start=5))
    asked = ask_and_tell(study, 5 + 20)
    assert len(set(asked)) > 10
    values = [trial.value for trial in study.trials if trial.value is not None]
    assert max(values[5:]) > max(values[:5])


def test_the_example_of_docs_search_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/search.md").read_text(), re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    assert {"learning_rate", "channels"} < namespace["study"].best_params.keys()


def test_the_readme_names_every_module() -> None:
    modules = {path.name for path in (ROOT / "controllers").glob("*.py")} - {"errors.py"}
    assert modules <= set(re.findall(r"`(\w+\.py)`", README))
