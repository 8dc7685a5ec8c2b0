"""What ppo has learned from the first batches of a study, and the file that keeps it.

The file saves time only: whatever it lacks, or does not have for exactly these trials, is learned
again from the study. It is replaced as a whole, so any number of processes may read and write it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from controllers.proximal import Learned
from controllers.samplers import Record
from search_space.files import atomic_write

Batches: TypeAlias = tuple[tuple[Record, ...], ...]

FILE = "ppo.state"  # in the run folder of a search
_CHECKSUM = 32  # bytes of SHA-256, before everything else


@dataclass(frozen=True)
class State:
    """What is learned from some batches: the weights, and baseline and variance of the rewards."""

    learned: Learned
    baseline: float | None
    variance: float


def write_state(path: Path, key: str, batches: Batches, state: State) -> None:
    """Keep what is learned from batches; do nothing if the file cannot be written.

    Args:
        path: the file.
        key: all that the state depends on but the batches.
        batches: one or more.
        state: what is learned from them.
    """
    content = io.BytesIO()
    np.savez(
        content,
        made_from=np.asarray([key, _digest(batches)]),
        count=np.asarray([len(batches), state.learned.steps]),
        rewards=np.asarray([state.baseline, state.variance], np.float64),
        weights=state.learned.weights,
        mean=state.learned.mean,
        square=state.learned.square,
    )
    data = content.getvalue()
    with suppress(OSError), atomic_write(path) as draft:
        draft.write_bytes(hashlib.sha256(data).digest() + data)


def read_state(path: Path, key: str, batches: Batches) -> tuple[int, State] | None:
    """Return what was kept and from how many of the batches, the first ones, it is learned.

    None if there is no such file, it cannot be read, is damaged, has another key, or is learned
    from other batches.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data[_CHECKSUM:]).digest() != data[:_CHECKSUM]:
        return None
    with np.load(io.BytesIO(data[_CHECKSUM:])) as kept:
        made_with, made_from = kept["made_from"].tolist()
        if made_with != key:  # perhaps written by other code, with other entries
            return None
        count, steps = map(int, kept["count"])
        if made_from != _digest(batches[:count]):
            return None
        baseline, variance = map(float, kept["rewards"])
        learned = Learned(kept["weights"], kept["mean"], kept["square"], steps)
    return count, State(learned, baseline, variance)


def _digest(batches: Batches) -> str:
    records: Sequence[Record] = [record for batch in batches for record in batch]
    total = hashlib.sha256(np.asarray([r.choices for r in records], np.int64).tobytes())
    total.update(np.asarray([r.reward for r in records], np.float64).tobytes())
    return total.hexdigest()
