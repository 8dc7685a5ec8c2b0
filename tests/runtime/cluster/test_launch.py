"""The logs of a job on several cards: those of the job before go, other files stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nasfpn_runtime.cluster import launch
from nasfpn_runtime.cluster.launch import ClusterJob


def test_only_logs_of_an_earlier_job_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (["true"], dict(os.environ))
    monkeypatch.setattr(launch, "launch_command", lambda *args: command)
    for name in ("worker_0.log", "worker_3.log", "scheduler.log", "app.log", "notes.txt"):
        (tmp_path / name).write_text("before")
    launch.launch(["train"], ClusterJob(2, 1, 0, None, None), tmp_path)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"app.log", "notes.txt", "msrun.log"}
