"""The path of a parameter in a detector, taken apart into fields.

``backbone.groups.2.0.body.1.bn.gamma`` is of the kind ``body.bn``, with the fields group 2,
block 0 and index 1, and the leaf ``gamma``. The table of a source then needs one template for
each kind (see ``spellings.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Kind of parameter -> our name for it, without the leaf.
PATHS = {
    "stem": "backbone.stem.{part}",
    "body": "backbone.groups.{group}.{block}.body.{index}.{part}",
    "shortcut": "backbone.groups.{group}.{block}.shortcut.{part}",
    "lateral": "pyramid.laterals.{index}.{part}",
    "coarser": "pyramid.coarser.{index}.project.{part}",
    "cell": "pyramid.stacks.{stack}.cells_.{cell}.out.{part}",
    "head": "head.{tower}.convs.{index}",
    "head_norm": "head.{tower}.norms.{map}.{index}",
    "predict": "head.{tower}.predict",
    "level_head": "head.{tower}.{map}.convs.{index}",
    "level_predict": "head.{tower}.{map}.predict",
}
WORDS = {"part": "conv|bn", "tower": "classes|boxes"}  # all other fields are numbers
INPUTS = 5  # nodes of the published pyramid before its first cell

Fields = dict[str, str | int]


@dataclass(frozen=True)
class ParameterPath:
    """The path of one parameter.

    Attributes:
        kind: key of :data:`PATHS`, followed by ``.conv`` or ``.bn`` if that path has a part.
        leaf: ``weight``, ``bias``, ``gamma``, ``beta``, ``moving_mean`` or
            ``moving_variance``.
        fields: what a source's template may refer to. From the path, counted from 0:
            ``group``, ``block``, ``index``, ``stack``, ``cell``, ``map``; and ``tower``, which
            is ``classes`` or ``boxes``. Derived: ``group1`` and ``index1``, counted from 1;
            ``level`` of a lateral or of a head's map; ``index2``, twice the index; ``last2``,
            twice the length of a tower; ``node``, the cell's number among all nodes; ``nth``,
            "", "_1", "_2", ... in the order in which TF creates the backbone's convolutions;
            ``depth``, the 50 of ResNet-50.
    """

    kind: str
    leaf: str
    fields: Fields


def find_paths(names: Iterable[str], finest: int) -> dict[str, ParameterPath]:
    """Return the paths of the parameters of one network, by name.

    Parameters that no source has are left out: those of depthwise-separable cells and of
    MobileNetV2.

    Args:
        names: as in a complete detector: ``backbone.``, ``pyramid.``, ``head.``.
        finest: level of the pyramid's first map.
    """
    paths = {name: path for name in names if (path := _parse(name))}
    keys = sorted({_creation_key(path) for path in paths.values() if _in_backbone(path)})
    nth = {key: f"_{number}" if number else "" for number, key in enumerate(keys)}
    bodies = {_creation_key(path) for path in paths.values() if path.kind.startswith("body")}
    indices = [int(path.fields["index"]) for path in paths.values() if _in_tower(path)]
    length = 1 + max(indices, default=-1)
    for path in paths.values():
        fields = path.fields
        fields |= {"depth": len(bodies) + 2, "last2": 2 * length}
        if _in_backbone(path):
            fields["nth"] = nth[_creation_key(path)]
        if "group" in fields:
            fields["group1"] = int(fields["group"]) + 1
        if "index" in fields:
            index = int(fields["index"])
            fields |= {"index1": index + 1, "index2": 2 * index}
        fields["level"] = finest + int(fields.get("map", fields.get("index", 0)))
        fields["node"] = INPUTS + int(fields.get("cell", 0))
    return paths


def _parse(name: str) -> ParameterPath | None:
    stem, _, leaf = name.rpartition(".")
    for kind, template in PATHS.items():
        if match := re.fullmatch(_pattern(template), stem):
            texts = match.groupdict()
            part = texts.pop("part", None)
            fields: Fields = {
                field: text if field in WORDS else int(text) for field, text in texts.items()
            }
            return ParameterPath(f"{kind}.{part}" if part else kind, leaf, fields)
    return None


def _pattern(template: str) -> str:
    """Return a template as a regular expression with one named group for each field."""
    escaped = template.replace(".", r"\.")
    return re.sub(r"{(\w+)}", lambda m: f"(?P<{m[1]}>{WORDS.get(m[1], '[0-9]+')})", escaped)


def _in_backbone(path: ParameterPath) -> bool:
    return path.kind.split(".")[0] in ("stem", "body", "shortcut")


def _in_tower(path: ParameterPath) -> bool:
    return path.kind in ("head", "level_head")


def _creation_key(path: ParameterPath) -> tuple[int, ...]:
    """Return a key that sorts convolutions as TF creates them (``resnet.py``).

    The stem comes first, and in each block its shortcut.
    """
    return tuple(int(path.fields.get(name, -1)) for name in ("group", "block", "index"))
