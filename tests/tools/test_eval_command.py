"""``nasfpn eval``: its choices are those of the runtime."""

from __future__ import annotations

from nasfpn_runtime.scoring.protocols import PROTOCOLS
from tools import evaluate
from tools.cli import make_parser


def test_protocols_are_those_of_the_runtime() -> None:
    assert set(evaluate.PROTOCOLS) == set(PROTOCOLS)
    for protocol in PROTOCOLS:
        arguments = ["eval", "--checkpoint", "a.ckpt", "--data", "d", "--protocol", protocol]
        assert make_parser().parse_args(arguments).protocol == protocol
