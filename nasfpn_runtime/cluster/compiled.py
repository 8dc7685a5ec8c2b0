"""Compile networks once: later processes load the compiled graph from disk.

MindSpore 2.10 writes the n-th graph that a process compiles as ``compile_cache_n.mindir`` in one
folder, fixed for the process, and the next process takes the n-th file for its n-th network,
whichever that is. Here each process has a working folder of its own, which holds at most one
graph: the one with the right key (``graph_key.py``) while MindSpore looks for it, or the one that
MindSpore has just written, which then goes to the store (``graph_store.py``).

MindSpore binds the parameters of a loaded graph by name to those of the cell, so their values are
no part of the graph. A loaded graph computes bit for bit what a compiled one does
(``tests/runtime/cluster/test_compiled.py``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mindspore
from mindspore import Tensor, nn

from nasfpn_runtime.cluster.cards import is_distributed
from nasfpn_runtime.cluster.graph_key import graph_key, sources
from nasfpn_runtime.cluster.graph_store import GraphStore, open_store
from nasfpn_runtime.processes import environment
from search_space.files import listed

# The versions whose numbering of files, and whose loaded graphs, were tested.
TESTED = ("2.10.",)
_PATH = "MS_COMPILER_CACHE_PATH"
_OWN = "MS_COMPILER_CACHE_ENABLE"  # MindSpore's cache, switched on by the user
_NUMBER = 13  # of the last field of a graph file, mind_ir_version (mind_ir.proto, ModelProto)

Origin = Literal["stored", "loaded"]


@dataclass
class _Session:
    """How MindSpore's cache is used in this process.

    Attributes:
        process: id of the process.
        folder: the working folder. MindSpore reads the path once.
        count: number of graphs that MindSpore has compiled or loaded with its cache on.
        usable: whether all of that went as expected. If not, the numbers of files are unknown.
    """

    process: int
    folder: Path
    count: int = 0
    usable: bool = True


_session: _Session | None = None


def compile_once(cell: nn.Cell, *inputs: Tensor) -> Origin | None:
    """Compile a cell for inputs of these shapes, or load its graph if it is in the store.

    Whatever goes wrong, nothing is raised: the cell is then compiled as usual when it is called.
    Call this with MindSpore's lock, once for each cell and shapes, before the first call.

    Returns:
        ``stored`` if the cell was compiled and its graph is in the store now, ``loaded`` if it
        was there, None if the store was not used: it is off (see ``graph_store.open_store``), the
        device is not a CPU, several processes train together, MindSpore has another version or
        its own cache is on, the cell cannot be described, or it cannot be compiled.
    """
    store = open_store()
    if store is None or not _is_supported():
        return None
    session = _get_session(store)
    if not session.usable:
        return None
    # MindSpore's errors are of any type, and a real one comes again when the cell is called.
    try:
        key = graph_key(cell, inputs)
    except Exception:
        return None
    found, used = store.load(key), None
    with contextlib.suppress(Exception):
        graph = _compile(session, cell, inputs, found)
        sources()  # MindSpore has read them since the key was made
        used = graph
    if used is not None and used == found:
        return "loaded"
    store.discard(key)
    if used is None or not is_complete(used):
        return None
    store.save(key, used)
    return "stored"


def is_complete(graph: bytes) -> bool:
    """Return whether a graph file has its end; MindSpore does not notice a full disk.

    The file is a protobuf message whose fields are in order of their numbers, and whose last
    field is always there.
    """
    place, number = 0, 0
    try:
        while place < len(graph):
            tag, place = _varint(graph, place)
            number, kind = tag >> 3, tag & 7
            if kind not in (0, 2):  # a number, or bytes with their length: it has no others
                return False
            size, place = _varint(graph, place)
            place += size if kind == 2 else 0
    except IndexError:
        return False
    return place == len(graph) and number == _NUMBER


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a protobuf number and the place after it."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _is_supported() -> bool:
    return (
        mindspore.__version__.startswith(TESTED)
        and mindspore.get_context("mode") == mindspore.GRAPH_MODE
        and mindspore.get_context("device_target") == "CPU"
        and not is_distributed()
        and not os.environ.get(_OWN)
        and not mindspore.get_context("enable_compile_cache")
    )


def _get_session(store: GraphStore) -> _Session:
    global _session
    if _session is None or _session.process != os.getpid():
        _session = _Session(os.getpid(), store.new_working_folder())
    return _session


def _compile(
    session: _Session, cell: nn.Cell, inputs: tuple[Tensor, ...], graph: bytes | None
) -> bytes | None:
    """Compile with MindSpore's cache on, and with at most one graph in it.

    Returns:
        The graph that MindSpore has used or written; None if it has used or written others.
    """
    files = session.folder / "rank_0" / "graph_cache"
    place = files / f"compile_cache_{session.count}.mindir"
    session.usable = False  # until all has gone as expected
    with listed(session.folder):
        try:
            files.mkdir(mode=0o700, parents=True)
            if graph is not None:
                place.write_bytes(graph)
            with _switched_on(session.folder):
                cell.compile(*inputs)
            if [file for file in files.iterdir() if file.suffix == ".mindir"] != [place]:
                return None
            used = place.read_bytes()
        finally:
            shutil.rmtree(session.folder, ignore_errors=True)
    session.count += 1
    session.usable = True
    return used


@contextlib.contextmanager
def _switched_on(folder: Path) -> Iterator[None]:
    """Have MindSpore's cache on inside the block.

    This sets the value that its C++ code reads. ``mindspore.set_context`` would also make it read
    the imports of the program's first file, which it would take for the sources of the network.
    """
    from mindspore._c_expression import MSContext, ms_ctx_param

    context, switch = MSContext.get_instance(), ms_ctx_param.enable_compile_cache
    with environment({_PATH: str(folder)}):
        context.set_param(switch, True)
        try:
            yield
        finally:
            context.set_param(switch, False)
