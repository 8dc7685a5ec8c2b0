"""Errors about genomes, and the hint at the end of a message about an unknown name."""

from __future__ import annotations

import pickle

import pytest

from search_space.errors import GenomeError, UserError, nearest


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("nas-fpn", ", did you mean nasfpn?"),
        ("fpm", ", did you mean fpn?"),
        ("resnet", ""),
        ("", ""),
    ],
)
def test_the_nearest_name(name: str, end: str) -> None:
    assert nearest(name, ("fpn", "nasfpn", "panet")) == end


def test_parts_of_the_message_survive_a_pickle_and_a_prefix() -> None:
    error = GenomeError("an op must be one of sum", "summ", "op", ", did you mean sum?")
    assert str(error) == "an op must be one of sum, got 'summ' (at op), did you mean sum?"
    assert isinstance(error, UserError)
    again = pickle.loads(pickle.dumps(error.under("cells[1]")))
    assert type(again) is GenomeError
    assert str(again) == str(error).replace("(at op)", "(at cells[1].op)")
    assert (again.value, again.path) == ("summ", "cells[1].op")
