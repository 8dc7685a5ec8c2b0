"""Names and ids of frames."""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nasfpn_runtime.predict.inputs import InputFile
from nasfpn_runtime.predict.naming import FrameNamer

PIXELS = np.zeros((1, 1, 3), np.uint8)

stems = st.sampled_from(["a", "a-2", "7", "07", "x/a", "x/7", "clip-000001", "b"])
suffixes = st.sampled_from([".jpg", ".png"])


@given(st.lists(st.tuples(stems, suffixes, st.booleans())))
def test_names_and_ids_are_unique(files: list[tuple[str, str, bool]]) -> None:
    namer = FrameNamer()
    frames = []
    for stem, suffix, clip in files:
        file = InputFile(Path(stem + suffix), PurePath(stem + suffix))
        for number in (1, 2) if clip else (None,):
            frames.append(namer.frame(file, number, PIXELS))
            assert PurePath(frames[-1].name).parent == file.name.parent
    assert len({frame.name for frame in frames}) == len(frames)
    assert len({frame.image_id for frame in frames}) == len(frames)
    if frames and files[0][0] == "07" and not files[0][2]:
        assert (frames[0].name, frames[0].image_id) == ("07", 7)


def test_a_long_name_is_cut_before_a_number_is_appended() -> None:
    long = Path("é" * 125 + ".jpg")  # 254 bytes
    frame = FrameNamer().frame(InputFile(long, PurePath(long)), 3, PIXELS)
    assert frame.name == "é" * 100 + "-000003"
