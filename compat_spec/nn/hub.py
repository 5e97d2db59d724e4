"""What goes wrong between this machine and a hub of models and data sets, in words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


def is_out_of_reach(error: BaseException | None) -> bool:
    """Whether an error of transformers, datasets or huggingface_hub comes from a hub that does not answer."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while error is not None:
        if isinstance(error, ConnectionError | LocalEntryNotFoundError):
            return True
        error = error.__cause__ or error.__context__
    return False


def out_of_reach() -> str:
    """Why a hub does not answer."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and the cache of the hub on this machine has no copy"
    return "the hub cannot be reached from this machine, and its cache here has no copy"


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Keep the hub's library from telling of each time that it tries again, across the lines of a run."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
