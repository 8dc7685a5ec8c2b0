"""The key of a compiled graph: a hash of all that the graph depends on.

MindSpore's own cache tells graphs apart by the order in which a process compiles them, and takes
the graph of another network without a word. So the key here is made from the network itself: the
class, settings and constants of every cell; the names, shapes and types of its parameters, whose
values are no part of a graph; and the shapes and types of the inputs. Besides it has the constants
of the modules that the cells come from, the source files of this project, versions, and
MindSpore's settings. The recipe is not in it, so what changes no graph changes no key: the seed,
the weights, the data, the learning rate, the number of epochs.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import inspect
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore._c_expression import MSContext, ms_ctx_param
from mindspore.ops.composite.base import _Grad

import nasfpn_runtime
import search_space

FORMAT = 2  # raise it when the meaning of a key or of a stored graph changes
PACKAGES = (nasfpn_runtime, search_space)
# Whose classes a cell may have, and whose functions it may call.
_KNOWN = {"mindspore", "nasfpn_runtime", "search_space", "numpy"}
# MindSpore's settings of a compilation. Some others have no fixed value until they are set.
_CONTEXT = (
    *("check_bprop", "debug_level", "deterministic", "device_target", "enable_graph_kernel"),
    *("exec_order", "graph_kernel_flags", "infer_boost", "jit_level", "jit_syntax_level"),
    *("max_call_depth", "memory_optimize_level", "mode"),
)
_PATHS = ("MS_COMPILER_CACHE_PATH", "MS_OM_PATH")  # variables that change no graph
# What a cell notes in this process about itself: ids, and what it has compiled.
_VOLATILE = {
    *("_id", "_create_time", "total_instance_count", "_scope", "_cell_init_args", "_init_flag"),
    *("_exist_objs", "_exist_names", "_is_check_and_refresh", "_lazy_construct_sig"),
    *("_phase", "_phase_cache", "_compile_phase", "_compile_cache", "_compiled", "arguments_key"),
    *("current_phase", "compile_phase", "__compile_cell_hook__", "__parse_method__"),
    *("_has_mutable_args_list", "sequence_modified", "_lazy_user_parameters"),
}
_CONSTANTS = (bool, int, float, str, tuple, Tensor, np.ndarray)
_COMPOSITES = (ops.GradOperation, ops.HyperMap, ops.Map, _Grad)


class UnknownError(Exception):
    """A network has something of which it is not known how it changes the graph."""


def graph_key(cell: nn.Cell, inputs: Sequence[Tensor]) -> str:
    """Return the key of the graph that MindSpore compiles from a cell for inputs.

    Raises:
        UnknownError: the cell cannot be described completely: a cell in it is neither of this
            project nor of MindSpore, or a method or function was replaced at run time, so that
            its source is unknown. Or a source file of this project has changed since the process
            started.
    """
    parts = (
        FORMAT,
        sources(),
        (mindspore.__version__, _commit(), sys.version, platform.machine()),
        _settings_of_mindspore(),
        [(str(x.dtype), tuple(x.shape)) for x in inputs],
        (cell.phase, _portrait(cell, {})),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _settings_of_mindspore() -> Any:
    """Return its settings, and its variables: it reads no others when it compiles."""
    context = MSContext.get_instance()
    return (
        [(name, str(context.get_param(getattr(ms_ctx_param, name)))) for name in _CONTEXT],
        _portrait(mindspore.get_context("jit_config"), {}),
        sorted((k, v) for k, v in os.environ.items() if k.startswith("MS_") and k not in _PATHS),
    )


@lru_cache(maxsize=1)
def _commit() -> str:
    """Return the commit that MindSpore was built from; its version alone may not tell."""
    return Path(mindspore.__path__[0], ".commit_id").read_text(encoding="utf-8")


def sources() -> str:
    """Return a hash of this project's source files, from which the graphs are made.

    Raises:
        UnknownError: a file is newer than this process, which may have loaded an older one.
    """
    files = {
        file.relative_to(folder.parent).as_posix(): (file, file.stat().st_ctime)
        for folder in (Path(package.__path__[0]) for package in PACKAGES)
        for file in folder.rglob("*.py")
    }
    # The time of the last change of content or name: unlike st_mtime, no program can set it.
    if max(changed for _, changed in files.values()) >= process_start():
        raise UnknownError("a source file has changed since this process started")
    return _digest(tuple(sorted(files.items())))


@lru_cache(maxsize=1)
def _digest(files: tuple[tuple[str, tuple[Path, float]], ...]) -> str:
    total = hashlib.sha256()
    for name, (file, _) in files:
        total.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def process_start() -> float:
    """Return when this process started, in seconds since the epoch (man proc, field 22)."""
    after_name = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2]
    ticks = int(after_name.split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def _portrait(value: Any, seen: dict[int, int]) -> Any:
    """Return nested tuples with an exact ``repr`` that is the same in every process.

    Args:
        seen: identity of each cell, parameter and function so far -> its number, because one can
            be used twice.
    """
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return type(value).__name__, str(value) if isinstance(value, enum.Enum) else value
    if isinstance(value, (nn.Cell, Parameter, FunctionType)):
        if id(value) in seen:
            return "again", seen[id(value)]
        seen[id(value)] = len(seen)
        if isinstance(value, FunctionType):
            return _function(value, seen)
        return _cell(value, seen) if isinstance(value, nn.Cell) else _parameter(value)
    if isinstance(value, (Tensor, np.ndarray)):
        content = np.ascontiguousarray(value if isinstance(value, np.ndarray) else value.asnumpy())
        digest = hashlib.sha256(content.tobytes()).hexdigest()
        return type(value).__name__, str(value.dtype), tuple(value.shape), digest
    if isinstance(value, (ops.Primitive, *_COMPOSITES)):
        return "operation", _kind(value), _settings(vars(value), seen)
    if isinstance(value, Mapping):
        return "mapping", _settings(value, seen)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [_portrait(item, seen) for item in value]
    if isinstance(value, (np.number, enum.Enum)) or _is_dtype(value):
        return _kind(value), str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return _kind(value), _settings(fields, seen)
    raise UnknownError(f"a network has a {type(value).__module__}.{type(value).__qualname__}")


def _cell(cell: nn.Cell, seen: dict[int, int]) -> Any:
    state = {
        name: value
        for name, value in vars(cell).items()
        # What is lazy, such as hooks, is empty in some cells and None in others.
        if name not in _VOLATILE and (not name.startswith("_lazy_") or value)
    }
    around = [
        _surroundings(kind)
        for kind in type(cell).__mro__
        if kind.__module__.startswith("nasfpn_runtime.")
    ]
    return "cell", _kind(cell), around, _settings(state, seen)


def _function(function: FunctionType, seen: dict[int, int]) -> Any:
    """Return what a function of known source has besides it: defaults, and values around it."""
    # MindSpore's jit wraps its own functions, with the time of that.
    if function.__globals__.get("__name__", "").startswith("mindspore."):
        function = inspect.unwrap(function)
    module = sys.modules.get(function.__module__)
    known = function.__module__.partition(".")[0] in _KNOWN
    if not known or module is None or function.__globals__ is not vars(module):
        raise UnknownError(f"a network has {function.__module__}.{function.__qualname__}")
    inner = (
        [cell.cell_contents for cell in function.__closure__ or ()],
        function.__defaults__,
        function.__kwdefaults__,
    )
    code = function.__code__
    return function.__module__, function.__qualname__, code.co_firstlineno, _portrait(inner, seen)


def _parameter(value: Parameter) -> Any:
    return "Parameter", value.name, str(value.dtype), tuple(value.shape), value.requires_grad


def _settings(values: Mapping[Any, Any], seen: dict[int, int]) -> Any:
    # In their order, which can matter.
    return [(_portrait(name, seen), _portrait(value, seen)) for name, value in values.items()]


def _kind(value: Any) -> str:
    """Return the full name of a value's class.

    Raises:
        UnknownError: the class is of another project.
    """
    kind = type(value)
    if kind.__module__.partition(".")[0] not in _KNOWN:
        raise UnknownError(f"a network has a {kind.__module__}.{kind.__qualname__}")
    return f"{kind.__module__}.{kind.__qualname__}"


def _surroundings(kind: type) -> Any:
    """Return the constants of one of this project's classes and of its module.

    They are in its source, but a program can change them.

    Raises:
        UnknownError: a method of the class or a function of the module was replaced.
    """
    module = vars(sys.modules[kind.__module__])
    for name, method in vars(kind).items():
        if isinstance(method, FunctionType) and method.__globals__ is not module:
            raise UnknownError(f"{kind.__module__}.{kind.__qualname__}.{name} was replaced")
    known = _KNOWN | sys.stdlib_module_names
    for name, function in module.items():
        if (
            isinstance(function, FunctionType)
            and function.__module__.partition(".")[0] not in known
        ):
            raise UnknownError(f"{kind.__module__}.{name} was replaced")
    return [
        (name, _portrait(value, {}))
        for place in (module, vars(kind))
        for name, value in place.items()
        if not name.startswith("__") and isinstance(value, _CONSTANTS)
    ]


def _is_dtype(value: Any) -> bool:
    return type(value).__module__.startswith("mindspore._c_expression")
