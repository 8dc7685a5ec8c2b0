"""Errors that a user's mistake raises, and how their messages are worded.

Every message names the rule, the value and where the value is.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Base of all errors that tell users what to do differently; anything else is a bug.

    The commands print its message in one line and end with exit code 2.
    """


class GenomeError(UserError, ValueError):
    """A genome breaks a rule.

    Attributes:
        rule: what must hold, such as ``the version must be 1``.
        value: the value that breaks the rule.
        path: where the value is, such as ``cells[1].inputs``.
        hint: end of the message, such as the result of :func:`nearest`; may be empty.
    """

    def __init__(self, rule: str, value: object, path: str, hint: str = "") -> None:
        super().__init__(f"{rule}, got {value!r} (at {path}){hint}")
        self.rule, self.value, self.path, self.hint = rule, value, path, hint

    def __reduce__(self) -> tuple[type[GenomeError], tuple[str, object, str, str]]:
        return type(self), (self.rule, self.value, self.path, self.hint)

    def under(self, prefix: str) -> GenomeError:
        """Return the same error with ``prefix`` before its path: ``cells[1].inputs``."""
        return type(self)(self.rule, self.value, f"{prefix}.{self.path}", self.hint)


class PictureError(UserError, ValueError):
    """A picture cannot be drawn, or its format is not supported."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean X?`` with X the known name most like ``name``, or ``""``.

    Every message about an unknown name ends with it.
    """
    close = difflib.get_close_matches(name, known, 1)
    return f", did you mean {close[0]}?" if close else ""
