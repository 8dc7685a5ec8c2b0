"""Errors that a user's mistake raises, and how their messages are worded.

Every message names the rule, the value and where the value is.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable

LONGEST_VALUE = 100  # characters of a value in a message
LONGEST_MESSAGE = 1000  # characters of a message on the screen

_short = reprlib.Repr()  # its arguments are new in Python 3.12
_short.maxlevel = 3
_short.maxdict = _short.maxlist = _short.maxtuple = _short.maxset = _short.maxfrozenset = 6
_short.maxstring = _short.maxother = _short.maxlong = LONGEST_VALUE

_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):\S*@")  # in a URL: user:password@host
_PARAMETER = re.compile(  # in a URL: ?password=..., &access_token=...
    r"([?&;][\w-]*(?:password|passwd|pwd|token|secret|api_?key|access_?key)=)[^\s&;'\"]+",
    re.IGNORECASE,
)


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
        super().__init__(f"{rule}, got {value_text(value)} (at {path}){hint}")
        self.rule, self.value, self.path, self.hint = rule, value, path, hint

    def __reduce__(self) -> tuple[type[GenomeError], tuple[str, object, str, str]]:
        return type(self), (self.rule, self.value, self.path, self.hint)

    def under(self, prefix: str) -> GenomeError:
        """Return the same error with ``prefix`` before its path: ``cells[1].inputs``."""
        return type(self)(self.rule, self.value, f"{prefix}.{self.path}", self.hint)


class PictureError(UserError, ValueError):
    """A picture cannot be drawn, or its format is not supported."""


def value_text(value: object) -> str:
    """Return the ``repr`` of a value for a message, shortened to a part of a line.

    The time this takes does not depend on the size of the value: only the first items of
    a container are looked at.
    """
    try:
        return _cut(_short.repr(value), LONGEST_VALUE)
    except ValueError:  # an integer of thousands of digits, which Python refuses to print
        return "an integer of thousands of digits"


def message_text(text: str) -> str:
    """Return a message without its middle part if it is longer than ``LONGEST_MESSAGE``."""
    return _cut(text, LONGEST_MESSAGE)


def _cut(text: str, longest: int) -> str:
    half = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[:half]}...{text[-half:]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean X?`` with X the known name most like ``name``, or ``""``.

    Every message about an unknown name ends with it.
    """
    close = difflib.get_close_matches(name, known, 1)
    return f", did you mean {close[0]}?" if close else ""


def mask_secrets(text: str) -> str:
    """Return a text with the passwords of the URLs in it replaced by ``***``."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))
