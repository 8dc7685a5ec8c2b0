"""Errors of a search that tell users what to do differently."""

from __future__ import annotations

from search_space.errors import UserError


class ControllerError(UserError, ValueError):
    """There is no such controller, it has no such setting, or a value is out of range."""


class StudyError(UserError, ValueError):
    """A study cannot be opened, or belongs to another search."""


class SearchError(UserError, RuntimeError):
    """The search cannot continue because candidate after candidate fails."""
