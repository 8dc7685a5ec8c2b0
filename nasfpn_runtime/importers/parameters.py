"""Where a parameter of a detector sits: what the name tables of the sources speak about.

``backbone.groups.2.0.body.1.bn.gamma`` is the place ``body.bn`` of group 2, block 0,
index 1, and its leaf ``gamma``: a table then needs one template per place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Our names without their leaf.
PLACES = {
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
WORDS = {"part": "conv|bn", "tower": "classes|boxes"}  # other fields are numbers
INPUTS = 5  # nodes of the published pyramid before its first cell

Fields = dict[str, str | int]


@dataclass(frozen=True)
class ParameterPath:
    """The place of one parameter.

    Attributes:
        kind: a key of :data:`PLACES`, with ``.conv`` or ``.bn`` where that has both.
        leaf: ``weight``, ``bias``, ``gamma``, ``beta``, ``moving_mean``, ``moving_variance``.
        fields: what a template may name. Counted from 0: ``group``, ``block``, ``index``,
            ``stack``, ``cell``, ``map``. Derived: ``group1``, ``index1``, from 1; ``level``
            of a lateral or a head's map; ``index2``, twice the index; ``last2``, twice the
            length of a tower; ``node``, the cell's number among all nodes; ``nth``, "", "_1",
            "_2", ... in the order in which TF creates the backbone's convolutions;
            ``depth``, the 50 of ResNet-50. ``tower`` is ``classes`` or ``boxes``.
    """

    kind: str
    leaf: str
    fields: Fields


def find_paths(names: Iterable[str], finest: int) -> dict[str, ParameterPath]:
    """Return the places of the parameters of one network.

    Those that no source knows have none: depthwise-separable cells, MobileNetV2.

    Args:
        names: as in a whole detector: ``backbone.``, ``pyramid.``, ``head.``.
        finest: level of the pyramid's first map.
    """
    places = {name: place for name in names if (place := _parse(name))}
    keys = sorted({_creation(p) for p in places.values() if _backbone(p)})
    nth = {key: f"_{number}" if number else "" for number, key in enumerate(keys)}
    bodies = len({_creation(p) for p in places.values() if p.kind.startswith("body")})
    length = 1 + max((int(p.fields["index"]) for p in places.values() if _in_tower(p)), default=-1)
    for place in places.values():
        fields = place.fields
        fields |= {"depth": bodies + 2, "last2": 2 * length}
        if _backbone(place):
            fields["nth"] = nth[_creation(place)]
        if "group" in fields:
            fields["group1"] = int(fields["group"]) + 1
        if "index" in fields:
            index = int(fields["index"])
            fields |= {"index1": index + 1, "index2": 2 * index}
        fields["level"] = finest + int(fields.get("map", fields.get("index", 0)))
        fields["node"] = INPUTS + int(fields.get("cell", 0))
    return places


def _parse(name: str) -> ParameterPath | None:
    stem, _, leaf = name.rpartition(".")
    for kind, template in PLACES.items():
        if match := re.fullmatch(_pattern(template), stem):
            found = match.groupdict()
            part = found.pop("part", None)
            fields: Fields = {k: v if k in WORDS else int(v) for k, v in found.items()}
            return ParameterPath(f"{kind}.{part}" if part else kind, leaf, fields)
    return None


def _pattern(template: str) -> str:
    """Return the regular expression of a template."""
    escaped = template.replace(".", r"\.")
    return re.sub(r"{(\w+)}", lambda m: f"(?P<{m[1]}>{WORDS.get(m[1], '[0-9]+')})", escaped)


def _backbone(place: ParameterPath) -> bool:
    return place.kind.split(".")[0] in ("stem", "body", "shortcut")


def _in_tower(place: ParameterPath) -> bool:
    return place.kind in ("head", "level_head")


def _creation(place: ParameterPath) -> tuple[int, ...]:
    """Sort by creation in TF (``resnet.py``): the stem, then in a block its shortcut first."""
    fields = place.fields
    return tuple(int(fields.get(name, -1)) for name in ("group", "block", "index"))
