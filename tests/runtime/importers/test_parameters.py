"""The fields of a parameter's path."""

from __future__ import annotations

from nasfpn_runtime.importers.parameters import find_paths


def test_a_name_is_taken_apart() -> None:
    name = "backbone.groups.2.0.body.1.bn.gamma"
    path = find_paths([name], 3)[name]
    assert (path.kind, path.leaf) == ("body.bn", "gamma")
    fields = {"group": 2, "group1": 3, "block": 0, "index": 1, "index1": 2, "index2": 2}
    assert path.fields.items() >= fields.items()


def test_derived_fields_count_levels_nodes_and_towers() -> None:
    cell = "pyramid.stacks.1.cells_.4.out.conv.weight"
    tower = [f"head.boxes.convs.{index}.weight" for index in range(3)]
    paths = find_paths(["pyramid.laterals.2.conv.bias", cell, *tower], 3)
    assert paths["pyramid.laterals.2.conv.bias"].fields["level"] == 5  # the third from level 3
    assert paths[cell].fields["node"] == 9  # five inputs come first
    assert [paths[name].fields["last2"] for name in tower] == [6, 6, 6]


def test_convolutions_are_numbered_as_tf_creates_them() -> None:
    block = "backbone.groups.0.0"
    names = [f"{block}.body.{index}.conv.weight" for index in (1, 0)]
    names += [f"{block}.shortcut.conv.weight", "backbone.stem.conv.weight"]
    paths = find_paths(names, 3)
    assert [paths[name].fields["nth"] for name in names] == ["_3", "_2", "_1", ""]
    assert paths[names[0]].fields["depth"] == 4  # of a ResNet with two convolutions in its blocks


def test_parameters_that_no_source_has_are_left_out() -> None:
    assert not find_paths(["pyramid.stacks.0.cells_.1.out.depthwise.weight", "step"], 3)
