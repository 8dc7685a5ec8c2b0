"""The error a command raises for its user's mistake."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user, in one line; the command ends with exit code 2."""
