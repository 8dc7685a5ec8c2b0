"""From the categories in annotation files to classes counted from 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nasfpn_runtime.data.entry import Id
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.recipe.settings import Reading
from search_space.names import shown


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset.

    Attributes:
        names, ids: name and category id by class number.
        label_of: class number of every category id; of several merged ones, the same.
    """

    names: tuple[str, ...]
    ids: tuple[Id, ...]
    label_of: dict[Id, int]


def make_classes(categories: Sequence[tuple[Id, str]], reading: Reading, where: Path) -> Classes:
    """Return the classes, in the order of the categories.

    Args:
        categories: id and name of each; the ids differ.
        where: the file they are from, for messages.

    Raises:
        DataError: two have one name and ``reading`` does not merge them.
    """
    first: dict[str, Id] = {}
    for key, name in categories:
        if name in first and not reading.merge_names:
            raise DataError(
                f"categories must have different names, got {shown(name)} for the ids "
                f"{first[name]} and {key} (at {where}); to read them as one category, add "
                "--set data.merge_names=true, or --merge-names to a command of `nasfpn data`"
            )
        first.setdefault(name, key)
    numbers = {name: number for number, name in enumerate(first)}
    label_of = {key: numbers[name] for key, name in categories}
    return Classes(tuple(first), tuple(first.values()), label_of)
