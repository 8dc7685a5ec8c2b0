"""Access to object storage (OBS) through moxing, which is part of ModelArts' images."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from nasfpn_runtime.errors import TransferError
from nasfpn_runtime.extras import require

SCHEMES = ("obs", "s3")  # moxing accepts both for the same storage
PAUSES = (1.0, 5.0, 20.0)  # seconds before the second, third and fourth attempt
USED = ("copy", "copy_parallel", "exists", "remove")  # functions of moxing.file

Pause = Callable[[float], object]  # waits for a number of seconds, like time.sleep


def is_address(text: str) -> bool:
    """Return True for ``obs://bucket/path`` and False for a local path.

    Raises:
        TransferError: the address has another scheme, or no bucket or path.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        return False
    if scheme not in SCHEMES or not re.fullmatch(r"[^/]+/+[^/].*", rest):
        raise TransferError(f"an address must be obs://bucket/path, got {text!r}")
    return True


def storage() -> Any:
    """Return moxing's ``file`` module.

    Raises:
        MissingPackageError: moxing is not installed.
        TransferError: the installed moxing is not that of ModelArts.
    """
    moxing = require("moxing")
    file = getattr(moxing, "file", None)
    missing = [name for name in USED if not hasattr(file, name)]
    if missing:
        raise TransferError(
            f"moxing must be the package of ModelArts' images, got one without file.{missing[0]}, "
            f"such as the package of that name on PyPI (at {moxing.__file__})"
        )
    return file


def attempt(action: Callable[[], Any], what: str, pause: Pause = time.sleep) -> Any:
    """Call ``action`` and return its result; if it raises, retry after each of ``PAUSES``.

    Args:
        what: what the action does, such as ``read obs://bucket/path``, for the message.

    Raises:
        TransferError: the last attempt failed, too.
    """
    for seconds in (*PAUSES, None):
        try:
            return action()
        except Exception as error:  # undocumented: moxing lets its HTTP client's exceptions pass
            if seconds is None:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                times = len(PAUSES) + 1
                raise TransferError(f"cannot {what}, after {times} attempts: {reason}") from None
        pause(seconds)
    raise AssertionError("unreachable")
