"""Why a similarity is NaN: a warning says which layers have none, and why."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

STILL = "their features do not vary"
NOT_FINITE = "they have values that are not finite"


class UndefinedSimilarityWarning(UserWarning):
    """Some pairs of layers have no similarity, and are NaN: the message says which and why."""


def tell(measure: str, xs: Sequence[str], ys: Sequence[str]) -> None:
    """Warn of the layers that have no such similarity.

    Args:
        xs, ys: for each layer the reason, as what is said of several; empty where there is none.
    """
    for reason in dict.fromkeys(reason for reason in (*xs, *ys) if reason):
        named = []
        for side, reasons in (("xs", xs), ("ys", ys)):
            layers = [str(i) for i, found in enumerate(reasons) if found == reason]
            if layers:
                named.append(f"{'layer' if len(layers) == 1 else 'layers'} {', '.join(layers)} of {side}")
        message = f"{measure} is NaN for {' and '.join(named)}: {reason}"
        warnings.warn(message, UndefinedSimilarityWarning, stacklevel=2)


@contextmanager
def untold() -> Iterator[None]:
    """No such warnings inside: where the same has been said already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedSimilarityWarning)
        yield
