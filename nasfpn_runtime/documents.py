"""Read YAML and JSON that users write.

A key that occurs twice in a mapping is refused: the parsers would keep its last value and say
nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from nasfpn_runtime.errors import DocumentError
from search_space.errors import value_text

MAX_YAML = 1_000_000  # bytes of a file; it takes PyYAML 15 s
MAX_VALUES = 100_000  # of a YAML document with its aliases resolved; a few lines can hold billions

# What PyYAML raises: its own errors, and errors in its constructors, such as for `!!int x`.
_YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
_MERGE = "tag:yaml.org,2002:merge"  # of the key <<
# A string of JSON, with the colon if it is a key, or the start or end of an object.
_JSON_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}]')


def read_yaml(path: Path, *, first: bool = False) -> Any:
    """Return the content of a YAML file; see :func:`parse_yaml`.

    Raises:
        DocumentError: also if the file cannot be read.
    """
    content = _read(path, MAX_YAML)
    if len(content) > MAX_YAML:
        raise DocumentError(f"a YAML file must have at most {MAX_YAML:,} bytes (at {path})")
    return parse_yaml(content, str(path), first=first)


def parse_yaml(text: str | bytes, where: str, *, first: bool = False) -> Any:
    """Return the content of a YAML text, made of plain Python objects.

    Args:
        where: the file or option that the text comes from, for messages.
        first: return the first document; without it, there must be only one.

    Raises:
        DocumentError: the text is not YAML, a key occurs twice in a mapping, or there are more
            than ``MAX_VALUES`` values. The message has the line.
    """
    loader = None
    try:
        loader = _Loader(text)
        if first:
            return loader.get_data() if loader.check_data() else None  # type: ignore[no-untyped-call]
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise _error(reason, where, mark.line + 1 if mark else None) from None
    except _YAML_ERRORS as error:
        raise _error(str(error), where, None) from None
    finally:
        if loader is not None:
            loader.dispose()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; see :func:`parse_json`.

    Raises:
        DocumentError: also if the file cannot be read.
    """
    return parse_json(_read(path), str(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """Return the content of a JSON text.

    Args:
        where: the file or option that the text comes from, for messages.

    Raises:
        DocumentError: the text is not JSON, or a key occurs twice in an object. The message has
            the line.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        return json.loads(text, object_pairs_hook=_unique)
    except _RepeatedKeyError:
        assert isinstance(text, str)
        key, line = _repeated_key(text)
        raise _error(_repeated(key), where, line) from None
    except json.JSONDecodeError as error:
        raise _error(f"{error.msg} in column {error.colno}", where, error.lineno) from None
    except (ValueError, RecursionError) as error:
        raise _error(str(error), where, None) from None


class _RepeatedKeyError(Exception):
    """A key occurs twice in an object of JSON."""


class _Loader(yaml.SafeLoader):
    """Checks each mapping and the number of values while it composes the tree of a document.

    That is before PyYAML merges mappings (``<<``), which may override a key rightfully.
    """

    def __init__(self, text: str | bytes) -> None:
        super().__init__(text)
        self._values: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        known = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if node is None or known:
            return node
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            children = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        # A node that contains itself is not counted yet.
        self._values[node] = 1 + sum(self._values.get(child, 0) for child in children)
        if self._values[node] > MAX_VALUES:
            rule = f"a document must have at most {MAX_VALUES:,} values"
            raise yaml.MarkedYAMLError(
                problem=f"{rule}, got {self._values[node]:,}", problem_mark=node.start_mark
            )
        return node

    def _check_keys(self, node: yaml.MappingNode) -> None:
        keys: set[Hashable] = set()
        for part, _ in node.value:
            if not isinstance(part, yaml.ScalarNode):
                continue  # refused when the mapping is constructed: Python cannot hash it
            # Keys may be equal though they are written differently: 1 and 0x1, "a" and a.
            key = part.value if part.tag == _MERGE else self.construct_object(part, deep=True)
            if key in keys:
                raise yaml.MarkedYAMLError(problem=_repeated(key), problem_mark=part.start_mark)
            keys.add(key)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise _RepeatedKeyError
    return result


def _repeated_key(text: str) -> tuple[str, int]:
    """Return the first key of a JSON text that occurs twice in an object, and its line."""
    objects: list[set[str]] = []
    for token in _JSON_TOKEN.finditer(text):
        if token[0] == "{":
            objects.append(set())
        elif token[0] == "}":
            objects.pop()
        elif token[2]:
            key: str = json.loads(token[1])
            if key in objects[-1]:
                return key, text.count("\n", 0, token.start()) + 1
            objects[-1].add(key)
    raise AssertionError("no key occurs twice")


def _repeated(key: object) -> str:
    return f"keys of a mapping must be unique, got {value_text(key)} twice"


def _error(reason: str, where: str, line: int | None) -> DocumentError:
    reason = " ".join(reason.split()) or "an error without a message"
    place = where if line is None or where.startswith("--") else f"line {line} of {where}"
    return DocumentError(f"{reason} (at {place})")


def _read(path: Path, most: int = -2) -> bytes:
    """Return the content of a file, or its first ``most + 1`` bytes: a device may have no end."""
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise DocumentError(f"{error.strerror or error} (at {path})") from None
