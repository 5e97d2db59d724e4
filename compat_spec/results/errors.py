"""What can be wrong with the results, or with a question to them."""

from __future__ import annotations

from compat_spec.errors import CompatError, UsageError


class ResultsError(CompatError):
    """The results cannot be opened, read or written."""


class QueryError(UsageError):
    """A query that is not one SELECT, or that names what is not there."""
