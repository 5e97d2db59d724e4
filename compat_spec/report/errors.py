"""What can keep a report from being made."""

from __future__ import annotations

from compat_spec.errors import CompatError


class NothingToShow(CompatError):  # noqa: N818
    """The run has recorded nothing that a page or chart could show."""


class MissingExtra(CompatError):  # noqa: N818
    """Charts need libraries that are not installed."""

    def __init__(self, library: str) -> None:
        super().__init__(f'charts need {library}: pip install "compat-spec[plot]"')
