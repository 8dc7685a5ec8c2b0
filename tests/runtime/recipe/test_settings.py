"""Settings: the range of each is checked, and messages name the setting and its value."""

from __future__ import annotations

import pytest

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.recipe.settings import Anchors, check, check_one_of


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs=0", r"training\.epochs .* above 0, got 0"),
        ("data.fit=stretch", r"data\.fit .* letterbox, squash, got 'stretch'"),
        ("data.augment.hflip=2", r"data\.augment\.hflip .* 0 to 1, got 2\.0"),
        ("model.backbone=resnet11", "backbone .* got 'resnet11'"),
        ("model.dialect=torch", r"model\.dialect .* tf, mmdet, modelzoo, got 'torch'"),
        ("box_code.order=xyxy", r"box_code\.order .* yxhw, xywh, got 'xyxy'"),
        ("anchors.centre=1", r"anchors\.centre .* 0 to below 1, got 1\.0"),
        ("anchors.ratios=[]", r"anchors\.ratios .* above 0, got \(\)"),
        ("data.interpolation=cubic", r"data\.interpolation .* antialias, bilinear, got 'cubic'"),
        ("data.pad=none", r"data\.pad .* image, picture, got 'none'"),
        ("data.background=1", r"data\.background .* 0 to below 1, got 1\.0"),
        ("data.background=-0.1", r"data\.background .* 0 to below 1, got -0\.1"),
        # bccd-256 has batches of 8 images.
        ("data.background=0.95", r"data\.background .* the 8 .* got 0\.95, which is 8"),
        ("data.background=0.05", r"data\.background .* the 8 .* got 0\.05, which is 0"),
        ("matching.contested=best", r"matching\.contested .* higher, first, last, got 'best'"),
        ("matching.negative=0.9", r"matching\.negative .* 0 to matching\.positive, got 0\.9"),
        ("loss.normaliser=none", r"loss\.normaliser .* plus_one, batch, picture, got 'none'"),
        ("loss.huber_delta=0", r"loss\.huber_delta .* above 0 or null, got 0\.0"),
        ("detection.pre_nms=0", r"detection\.pre_nms .* above 0 or null, got 0"),
        ("training.schedule=poly", r"training\.schedule .* cosine, step, got 'poly'"),
        ("training.lr_end=2", r"training\.lr_end .* 0 to 1, got 2\.0"),
        ("training.milestones=[-1]", r"training\.milestones .* 0 or more, got \(-1\.0,\)"),
        (
            "training.warmup=[{start: 0, stop: 1, steps: 1}]",
            r"training\.warmup .* empty .* warmup_epochs .* got \(Ramp",
        ),
        (
            "training.warmup=[{start: 0, stop: 1}]",
            r"training\.warmup\[0\]\.steps .* above 0 .* got 0",
        ),
        ("training.dropblock={keep: 0}", r"training\.dropblock\.keep .* above 0.* got 0\.0"),
        ("training.dropblock={block: 2}", r"training\.dropblock\.block .* odd .* got 2"),
        ("training.accumulate=3", r"training\.accumulate .* divisor of batch, got 3"),
        ("training.freeze_stages=5", r"training\.freeze_stages .* 0 to 4, got 5"),
    ],
)
def test_a_value_out_of_range_is_named(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe("bccd-256", ["training.epochs=3", override, "loss.gamma=1"])
    assert str(caught.value).endswith(f"(at --set {override})")
    assert "\n" not in str(caught.value)


def test_a_check_says_name_rule_and_value() -> None:
    anchors = Anchors(octaves=2)
    check(anchors, "octaves", lambda v: v == 2, "2")
    with pytest.raises(RecipeError, match=r"^octaves must be 3, got 2$"):
        check(anchors, "octaves", lambda v: v == 3, "3")
    with pytest.raises(RecipeError, match=r"^octaves must be one of a, b, got 2$"):
        check_one_of(anchors, "octaves", ("a", "b"))
