"""Print a recipe with a comment for each setting.

The comments are the descriptions in the ``Attributes`` sections of the dataclasses that a recipe
is made of, so there is one source for both.
"""

from __future__ import annotations

import inspect
import re
import textwrap
import types
import typing
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from typing import Any

import yaml

from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.recipe.schema import plain

WIDTH = 98  # columns

# A line of an Attributes section that starts the description of one or more settings.
_ENTRY = re.compile(r"(\w+(?:, \w+)*): (.*)")


def described(recipe: Recipe) -> str:
    """Return a recipe as YAML with a comment above each setting.

    ``load_recipe`` reads the text back as an equal recipe. Where a section is optional or there
    is a list of sections, the comment above also describes the settings of that section.
    """
    return "\n".join(_section(recipe)) + "\n"


def setting_comments(cls: Any) -> dict[str, str]:
    """Return the description of each setting of a dataclass, from its docstring.

    An entry of the ``Attributes`` section may name several settings, ``a, b: ...``, which then
    share the description.
    """
    text = inspect.getdoc(cls) or ""
    comments: dict[str, str] = {}
    names: list[str] = []
    for line in _attributes(text):
        entry = _ENTRY.fullmatch(line)
        if entry:
            names = entry[1].split(", ")
            comments |= dict.fromkeys(names, entry[2])
        else:
            comments |= {name: f"{comments[name]} {line.strip()}" for name in names}
    return {name: _as_sentence(comment) for name, comment in comments.items()}


def section_of(kind: Any) -> Any:
    """Return the dataclass that a setting of this type is or may contain, None if there is none.

    The type may be the dataclass itself, optional, or a tuple of them.
    """
    if is_dataclass(kind):
        return kind
    if typing.get_origin(kind) in (typing.Union, types.UnionType, tuple):
        return next(filter(None, map(section_of, typing.get_args(kind))), None)
    return None


def _attributes(text: str) -> list[str]:
    """Return the lines of the Attributes section of a docstring, without its indentation."""
    lines = iter(text.splitlines())
    for line in lines:
        if line == "Attributes:":
            break
    section = []
    for line in lines:
        if line and not line.startswith(" "):
            break  # the next section
        if line:
            section.append(line)
    return textwrap.dedent("\n".join(section)).splitlines()


def _as_sentence(text: str) -> str:
    text = text.replace("``", "`").rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _section(value: Any) -> list[str]:
    """Return the lines of a dataclass's settings, without indentation."""
    kinds, comments = typing.get_type_hints(type(value)), setting_comments(type(value))
    lines: list[str] = []
    for entry in fields(value):
        if is_dataclass(kinds[entry.name]):
            lines.append("")
        lines += _comment(comments.get(entry.name, ""))  # none with python -OO
        lines += _setting(entry.name, getattr(value, entry.name), kinds[entry.name])
    return lines


def _setting(name: str, value: Any, kind: Any) -> list[str]:
    section = section_of(kind)
    if section is None:
        return _leaf(name, value)
    if is_dataclass(value):
        return [f"{name}:", *_indented(_section(value))]
    items = [asdict(item) for item in value] if value else value
    return [*_schema(section), *_leaf(name, items)]


def _leaf(name: str, value: Any) -> list[str]:
    if isinstance(value, str) and len(value) > WIDTH // 2 and _is_words(value):
        return [f"{name}: >-", *_indented(_wrapped(value))]
    text = yaml.safe_dump(
        {name: plain(value)},
        default_flow_style=None if isinstance(value, list | tuple) else False,
        sort_keys=False,
        # PyYAML escapes line breaks such as U+0085, which it would fold, only in ASCII.
        allow_unicode=str(value).isprintable(),
        width=WIDTH,
    )
    return text.removesuffix("\n").split("\n")  # splitlines would also split at U+2028


def _is_words(text: str) -> bool:
    """Return whether a text has single spaces only, so that YAML can fold its lines."""
    return text.isprintable() and text == " ".join(text.split())


def _schema(section: Any) -> list[str]:
    """Return comments that describe the settings of a section, for a list of them or for none."""
    comments = setting_comments(section)
    lines = []
    for entry in fields(section):
        text = f"{entry.name}: {comments.get(entry.name, '')} {_default(entry)}"
        lines += _comment(text, indent="  ")
    return lines


def _default(entry: Field[Any]) -> str:
    if entry.default is MISSING:
        return "Required."
    return f"Default: {yaml.safe_dump(entry.default).splitlines()[0]}."


def _comment(text: str, indent: str = "") -> list[str]:
    start = f"# {indent}"
    lines = _wrapped(text)
    return [f"{start}{indent if number else ''}{line}" for number, line in enumerate(lines)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 8, break_long_words=False, break_on_hyphens=False)


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" if line else line for line in lines]
