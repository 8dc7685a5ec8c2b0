"""Folders that stand for object storage and the disk of a server, and a run that is saved there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from locations import HELPERS, ROOT

HEAD = "from pathlib import Path\nfrom nasfpn_runtime.cluster.modelarts.jobs import staged\n"


class Cloud:
    """An object storage with a dataset, and the cache of a server."""

    def __init__(self, home: Path) -> None:
        self.home, self.bucket, self.cache = home, home / "bucket", home / "cache"
        self.site = home / "site"
        (self.site / "moxing").mkdir(parents=True)
        shutil.copy(HELPERS / "moxing_stub.py", self.site / "moxing" / "__init__.py")
        self.write("data/annotations/a.json", "{}")
        for number in range(5):
            self.write(f"data/train2017/{number}.jpg", f"picture {number}")

    def write(self, name: str, text: str) -> None:
        """Write an object."""
        path = self.bucket / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def calls(self, name: str) -> list[str]:
        """Return the logged calls of a function of moxing."""
        log = self.home / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line.split()[0] == name]

    def fail(self, times: int) -> None:
        """Make the next calls fail."""
        (self.home / "failures").write_text(str(times))

    def start(self, code: str, **environ: str) -> subprocess.Popen[str]:
        """Run code, which may use ``staged`` and ``CACHE``, in a process that uses this storage."""
        environ = {**os.environ, "PYTHONPATH": f"{self.site}:{ROOT}", **environ}
        command = [sys.executable, "-c", f"{HEAD}CACHE = Path({str(self.cache)!r})\n{code}"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True)


def tree(folder: Path) -> dict[str, str]:
    """Return the text of all files of a folder by their relative paths."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def save(run: Path, epoch: int) -> None:
    """Do what training does at the end of an epoch: write a log line, then the checkpoint."""
    (run / "checkpoints").mkdir(exist_ok=True)
    with (run / "metrics.jsonl").open("a") as log:
        log.write(f"{epoch}\n")
    draft = run / "checkpoints" / ".last.tmp.ckpt"
    draft.write_text(f"{epoch}")
    last = run / "checkpoints" / "last.ckpt"
    if last.exists():
        os.replace(last, run / "checkpoints" / "last.previous.ckpt")
    os.replace(draft, last)


def uploaded_epoch(bucket: Path, name: str = "last.ckpt") -> int:
    """Return the epoch of an uploaded checkpoint of the run ``obs://runs/a``, 0 without one."""
    checkpoint = bucket / "runs" / "a" / "checkpoints" / name
    return int(checkpoint.read_text()) if checkpoint.exists() else 0
