"""What can go wrong for whoever asks, as a page of Datasette."""

from __future__ import annotations

from datasette import handle_exception
from datasette.views.base import DatasetteError

from compat_spec.errors import CompatError
from compat_spec.results import ResultsError


def told(error: CompatError) -> DatasetteError:
    """The error as a page that says what it says."""
    return DatasetteError(str(error), status=404 if isinstance(error, ResultsError) else 500, title="That did not work")


def keep_off_the_terminal() -> None:
    """Where rich is installed, Datasette prints each page that is not found there, with all variables."""
    handle_exception.rich = None
