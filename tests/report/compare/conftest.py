"""The databases of the tests of results."""

from tests.results.conftest import results

__all__ = ["results"]
