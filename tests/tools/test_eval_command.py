"""The command ``nasfpn eval``: its choices are those of the runtime."""

from __future__ import annotations

import argparse

from nasfpn_runtime.scoring.protocols import PROTOCOLS
from tools import evaluate


def test_protocols_are_those_of_the_runtime() -> None:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    choices = next(a.choices for a in parser._actions if a.dest == "protocol")
    assert choices is not None
    assert set(choices) == set(PROTOCOLS)
