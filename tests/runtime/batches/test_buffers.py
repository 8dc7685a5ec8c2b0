"""Memory blocks: the arrays in them, and when a block is reused."""

from __future__ import annotations

import pytest

from nasfpn_runtime.batches.buffers import BatchLayout, Buffers


def test_a_block_is_reused_once_no_array_refers_to_it() -> None:
    layout = BatchLayout(2, (4, 8), 3)
    buffers = Buffers([bytearray(layout.bytes) for _ in range(2)], layout)
    first, arrays = buffers.take()
    shapes = [(2, 3, 4, 8), (2, 2), (2, 3), (2, 3, 4)]
    assert [array.shape for array in arrays] == shapes
    assert [array.dtype.name for array in arrays] == ["uint8", "int32", "int32", "float32"]
    for number, array in enumerate(arrays):
        array[:] = number
    # The arrays do not overlap.
    assert [set(array.ravel().tolist()) for array in arrays] == [{0}, {1}, {2}, {3}]
    part = arrays.deltas[1:, :2]
    del arrays, array
    second, others = buffers.take()
    assert (second != first, len(buffers)) == (True, 0)
    others.deltas[:] = 7
    assert set(part.ravel().tolist()) == {3}  # `part` still refers to the first block
    with pytest.raises(IndexError):
        buffers.take()
    del part
    assert buffers.take()[0] == first


def test_copies_do_not_keep_a_block() -> None:
    layout = BatchLayout(2, (4, 8), 3)
    buffers = Buffers([bytearray(layout.bytes)], layout)
    _, arrays = buffers.take()
    for array in arrays:
        array[:] = 5
    copies = arrays.copies()
    del arrays, array
    _, arrays = buffers.take()
    for array in arrays:
        array[:] = 6
    assert [set(array.ravel().tolist()) for array in copies] == [{5}] * 4
