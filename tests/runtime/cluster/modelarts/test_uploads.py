"""Upload of a run during training: object storage always holds a run that can be resumed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nasfpn_runtime.cluster.modelarts import obs, uploads
from nasfpn_runtime.cluster.modelarts.jobs import staged
from nasfpn_runtime.errors import TransferError
from obs_folder import Cloud, save, tree, uploaded_epoch
from runs import wait_until

LIMIT = 60.0  # seconds


def test_checkpoints_are_uploaded_during_the_run_and_the_rest_at_its_end(cloud: Cloud) -> None:
    with staged("data", "obs://runs/a", cache=cloud.cache) as local:
        assert tree(local.out) == {}
        (local.out / "config.yaml").write_text("config")
        for epoch in (1, 2):
            save(local.out, epoch)
            wait_until(lambda: uploaded_epoch(cloud.bucket) == epoch, LIMIT)  # noqa: B023
        (local.out / "end.txt").write_text("end")
        (local.out / ".draft").write_text("half")
    assert tree(cloud.bucket / "runs" / "a") == {
        "metrics.jsonl": "1\n2\n",
        "checkpoints/last.ckpt": "2",
        "checkpoints/last.previous.ckpt": "1",
        "config.yaml": "config",
        "end.txt": "end",
    }
    # An unchanged file is copied once.
    assert len([line for line in cloud.calls("copy") if line.endswith("/config.yaml")]) == 1


def test_what_is_uploaded_can_be_resumed_whatever_happens_meanwhile(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch ends before every copy, and each time the signature of a file has been taken."""
    storage = obs.storage()
    copy, file_signature = storage.copy, uploads.file_signature
    saved, seen = 0, []

    def train() -> None:
        nonlocal saved
        if saved < 40:
            saved += 1
            save(local.out, saved)

    def train_and_copy(source: str, target: str) -> None:
        train()
        copy(source, target)
        log = cloud.bucket / "runs" / "a" / "metrics.jsonl"
        lines = len(log.read_text().splitlines()) if log.exists() else 0
        names = ("last.ckpt", "last.previous.ckpt")
        seen.append((max(uploaded_epoch(cloud.bucket, name) for name in names), lines))

    def sign_and_train(path: Path) -> uploads.Signature:
        signature = file_signature(path)
        train()
        return signature

    monkeypatch.setattr(storage, "copy", train_and_copy)
    monkeypatch.setattr(uploads, "file_signature", sign_and_train)
    with staged("data", "obs://runs/a", cache=cloud.cache) as local:
        (local.out / "checkpoints").mkdir()
        (local.out / "checkpoints" / "last.ckpt").write_text("0")
        wait_until(lambda: saved == 40, LIMIT)
    assert len(seen) >= 10
    assert [(epoch, lines) for epoch, lines in seen if epoch > lines] == []
    assert uploaded_epoch(cloud.bucket) == 40


def test_a_disk_without_links_uploads_a_run_all_the_same(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as on FAT

    monkeypatch.setattr(os, "link", refuse)
    with staged("data", "obs://runs/a", cache=cloud.cache) as local:
        save(local.out, 1)
        wait_until(lambda: uploaded_epoch(cloud.bucket) == 1, LIMIT)


def test_a_file_that_is_deleted_here_is_deleted_there(cloud: Cloud) -> None:
    with staged("data", "obs://runs/a", cache=cloud.cache) as local:
        save(local.out, 1)
        old = local.out / "checkpoints" / "1.ckpt"
        old.write_text("old")
        wait_until((cloud.bucket / "runs" / "a" / "checkpoints" / "1.ckpt").exists, LIMIT)
        old.unlink()
    assert not (cloud.bucket / "runs" / "a" / "checkpoints" / "1.ckpt").exists()


def test_an_upload_that_fails_is_repeated(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    with staged("data", "obs://runs/a", cache=cloud.cache) as local:
        cloud.fail(4)  # all attempts of the first upload
        save(local.out, 1)
        wait_until(lambda: uploaded_epoch(cloud.bucket) == 1, LIMIT)
    error = capsys.readouterr().err
    assert "cannot write obs://runs/a/metrics.jsonl, after 4 attempts: 503 Service" in error
    assert "repeated" in error


def test_a_run_that_cannot_be_uploaded_is_kept_and_reported(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    context = staged("data", "obs://runs/a", cache=cloud.cache)
    local = context.__enter__()
    cloud.fail(1000)
    save(local.out, 1)
    with pytest.raises(TransferError, match=rf"obs://runs/a/metrics\.jsonl, .*{local.out}"):
        context.__exit__(None, None, None)
    assert tree(local.out) == {"metrics.jsonl": "1\n", "checkpoints/last.ckpt": "1"}
    # The exception that ended a run is not hidden by an upload that fails, too.
    with pytest.raises(ZeroDivisionError), staged("data", "obs://runs/a", cache=cloud.cache):
        raise ZeroDivisionError
    assert str(local.out) in capsys.readouterr().err.splitlines()[-1]
