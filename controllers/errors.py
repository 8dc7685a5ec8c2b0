"""What a user's mistake in a search raises. Every message names the rule and the value."""

from __future__ import annotations

from search_space.errors import UserError


class ControllerError(UserError, ValueError):
    """There is no such controller, or a setting of it is out of range."""


class StudyError(UserError, ValueError):
    """A study cannot be opened, or belongs to another search."""


class SearchError(UserError, RuntimeError):
    """The search cannot go on: candidate after candidate fails."""
