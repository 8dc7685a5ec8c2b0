"""What a user's mistake raises. Every message names the rule, the value and the place."""

from __future__ import annotations


class UserError(Exception):
    """Base of all errors that tell users what to do differently; anything else is a bug.

    The commands print its message in one line and end with exit code 2.
    """


class GenomeError(UserError, ValueError):
    """A genome breaks a rule.

    Attributes:
        rule: what must hold, as a sentence without its full stop.
        value: what was found instead.
        path: where, such as ``cells[1].inputs``.
    """

    def __init__(self, rule: str, value: object, path: str) -> None:
        super().__init__(f"{rule}, got {value!r} (at {path})")
        self.rule, self.value, self.path = rule, value, path

    def __reduce__(self) -> tuple[type[GenomeError], tuple[str, object, str]]:
        return type(self), (self.rule, self.value, self.path)

    def under(self, prefix: str) -> GenomeError:
        """Return the same error seen from outside: ``inputs`` -> ``cells[1].inputs``."""
        return type(self)(self.rule, self.value, f"{prefix}.{self.path}")


class PictureError(UserError, ValueError):
    """A picture cannot be drawn, or not in the format that was asked for."""
