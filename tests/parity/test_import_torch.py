"""Files that torch writes, and torchvision's own backbones with their weights."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.importers.load import load_state
from nasfpn_runtime.importers.readers import read_arrays
from nasfpn_runtime.network.resnet import ResNet
from nasfpn_runtime.recipe.dialects import DIALECTS

pytestmark = [pytest.mark.parity, pytest.mark.slow]


@pytest.fixture(scope="module")
def torch() -> Any:
    """Torch; skips the test if it is not installed."""
    return pytest.importorskip("torch")


def tensors(torch: Any) -> Any:
    weight = torch.arange(12.0).reshape(3, 4).t()  # not contiguous
    return OrderedDict(
        a=weight,
        b=weight.bfloat16(),
        c=torch.nn.Parameter(weight.half()),
        d=torch.tensor(7),
    )


@pytest.mark.parametrize("zipped", [True, False])  # the formats since torch 1.6 and before
@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda state: {"meta": {"epoch": 50, "classes": ("a", "b")}, "state_dict": state},
        lambda state: {"model": state, "epoch": 3, "optimizer": {"state": {0: {"step": 1.0}}}},
    ],
)
def test_a_torch_file_is_read(
    torch: Any, tmp_path: Path, zipped: bool, wrap: Callable[[Any], Any]
) -> None:
    state = tensors(torch)
    path = tmp_path / "a.pth"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=zipped)
    arrays = read_arrays(path)
    assert arrays.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(arrays[name], value.detach().float().numpy())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_broken_or_hostile_file_is_refused(torch: Any, tmp_path: Path, zipped: bool) -> None:
    path, victim = tmp_path / "a.pth", tmp_path / "victim"

    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (victim,)

    torch.save(tensors(torch), path, _use_new_zipfile_serialization=zipped)
    complete = path.read_bytes()
    contents = [complete[: int(len(complete) * fraction)] for fraction in (0.05, 0.5, 0.95)]
    for extra in (Touch(), {"state_dict": {"a": Touch()}}):
        torch.save(extra, path, _use_new_zipfile_serialization=zipped)
        contents.append(path.read_bytes())
    contents += [pickle.dumps(Touch()), pickle.dumps([1]), b"<html>404</html>"]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"a\.pth") as caught:
            read_arrays(path)
        assert len(str(caught.value).splitlines()) == 1
    assert not victim.exists()


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_a_torchvision_backbone_gives_the_same_maps(
    torch: Any, name: str, tmp_path: Path, same: Callable[..., None]
) -> None:
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    theirs = getattr(models, name)().eval()
    rng = torch.Generator().manual_seed(1)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for value in (module.weight.data, module.running_var):
                value.uniform_(0.5, 1.5, generator=rng)
            for value in (module.bias.data, module.running_mean):
                value.normal_(0, 0.1, generator=rng)
    path = tmp_path / "a.pth"
    torch.save(theirs.state_dict(), path)
    ours = ResNet(name, 64, (3, 4, 5), DIALECTS["mmdet"])
    result = load_state(ours, read_arrays(path), "torchvision")
    assert {n for n in result.ignored if "tracked" not in n} == {"fc.weight", "fc.bias"}
    assert not result.missing
    assert not result.unexpected
    ours.set_train(False)
    images = np.random.default_rng(2).standard_normal((2, 3, 96, 160)).astype(np.float32)
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(torch.from_numpy(images)))))
        x = theirs.layer1(x)
        maps = [x := layer(x) for layer in (theirs.layer2, theirs.layer3, theirs.layer4)]
    same([m.asnumpy() for m in ours(Tensor(images))], [m.numpy() for m in maps])
