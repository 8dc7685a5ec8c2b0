"""Access to object storage: addresses, retries, and packages that are not moxing."""

from __future__ import annotations

import pytest

from nasfpn_runtime.cluster.modelarts import obs
from nasfpn_runtime.cluster.modelarts.jobs import staged
from nasfpn_runtime.errors import MissingPackageError, TransferError
from obs_folder import Cloud, tree


@pytest.mark.parametrize(
    ("text", "expected"),
    [("obs://bucket/a", True), ("s3://bucket/a/b", True), ("a/b", False), ("/a:b", False)],
)
def test_addresses_and_local_paths_are_told_apart(text: str, expected: bool) -> None:
    assert obs.is_address(text) == expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://b/data", r"address .*obs://bucket/path, got 'http://b/data'$"),
        ("obs://bucket", r"address .*obs://bucket/path, got 'obs://bucket'$"),
        ("obs://data/none", r"nothing at obs://data/none$"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused(cloud: Cloud, address: str, message: str) -> None:
    with pytest.raises(TransferError, match=message), staged(address, "run", cache=cloud.cache):
        pass


def test_copying_is_tried_four_times(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.fail(3)
    with staged("obs://data/train2017", "run", cache=cloud.cache) as local:
        assert len(tree(local.data)) == 5
    calls = 0

    def broken(*paths: str) -> None:
        nonlocal calls
        calls += 1
        raise OSError("503 Service Unavailable\nRequestId: 0")

    for name, what in (("exists", "look at"), ("copy_parallel", "read")):
        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(obs.storage(), name, broken)
            with (
                pytest.raises(TransferError) as caught,
                staged("obs://data/annotations", "run", cache=cloud.cache),
            ):
                pass
        assert calls == 4
        message = f"cannot {what} obs://data/annotations, after 4 attempts: 503 Service Unavailable"
        assert str(caught.value) == message
    assert list(cloud.cache.rglob("annotations")) == []


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, MissingPackageError, r"^obs:// .*moxing.*not on PyPI"),
        ("file = None", TransferError, r"^moxing .*file\.copy,.*site/moxing/__init__\.py"),
        ("raise ImportError('libobs')", MissingPackageError, r"^obs:// .*moxing.*libobs"),
    ],
)
def test_no_moxing_or_another_is_one_line(
    cloud: Cloud, content: str | None, error: type[Exception], message: str
) -> None:
    module = cloud.site / "moxing" / "__init__.py"
    module.unlink() if content is None else module.write_text(content)
    if content is None:
        module.parent.rmdir()
    with (
        pytest.raises(error, match=message) as caught,
        staged("obs://data/train2017", "run", cache=cloud.cache),
    ):
        pass
    assert "\n" not in str(caught.value)
