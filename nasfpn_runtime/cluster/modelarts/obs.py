"""Object storage (OBS), reached through moxing as ModelArts' images have it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from nasfpn_runtime.errors import TransferError
from nasfpn_runtime.extras import require

SCHEMES = ("obs", "s3")  # moxing takes both for the same storage
PAUSES = (1.0, 5.0, 20.0)  # seconds before the second, third and fourth attempt
USED = ("copy", "copy_parallel", "exists", "remove")

Pause = Callable[[float], object]  # waits so many seconds


def is_address(text: str) -> bool:
    """True for ``obs://bucket/path``, False for a local path.

    Raises:
        TransferError: an address of another kind, or without bucket or path.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        return False
    if scheme not in SCHEMES or not re.fullmatch(r"[^/]+/+[^/].*", rest):
        raise TransferError(f"an address is obs://bucket/path, got {text!r}")
    return True


def storage() -> Any:
    """Return moxing's ``file`` module.

    Raises:
        MissingPackageError: there is no moxing.
        TransferError: it is not the one of ModelArts.
    """
    moxing = require("moxing")
    file = getattr(moxing, "file", None)
    missing = [name for name in USED if not hasattr(file, name)]
    if missing:
        raise TransferError(
            f"moxing is ModelArts' own, got another package without file.{missing[0]}, such as the "
            f"one of that name on PyPI (at {moxing.__file__})"
        )
    return file


def attempt(action: Callable[[], Any], what: str, pause: Pause = time.sleep) -> Any:
    """Return what ``action`` does, called again after each of ``PAUSES`` where it raises.

    Raises:
        TransferError: the last attempt failed too; ``what`` says at what.
    """
    for seconds in (*PAUSES, None):
        try:
            return action()
        except Exception as error:  # moxing documents none: those of its HTTP client come through
            if seconds is None:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                times = len(PAUSES) + 1
                raise TransferError(f"cannot {what}, tried {times} times: {reason}") from None
        pause(seconds)
    raise AssertionError("unreachable")
