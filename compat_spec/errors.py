"""The errors that a user can cause, each with a message that says what would be right."""

from __future__ import annotations

import pickle
import traceback

__all__ = ["CompatError", "CompatWarning", "InterruptedRun", "UsageError", "WorkerLost", "portable"]


class CompatError(Exception):
    """Something that the user can mend. The command line prints the message, without a traceback."""

    exit_status = 1
    names_its_place = False
    """Whether the message begins with the file, line and column that it is about."""


class UsageError(CompatError):
    """What was asked for cannot be meant: a spec with mistakes, an unknown name, a wrong option."""

    exit_status = 2


class WorkerLost(CompatError):  # noqa: N818
    """The process or machine that ran a step is gone: the step is not to blame, and may be tried again."""


class InterruptedRun(CompatError):  # noqa: N818
    """The run was told to stop, and everything done so far is safe."""

    exit_status = 130


class CompatWarning(UserWarning):
    """Something that may not be what the user means. The command line prints the message alone."""


def portable(error: BaseException) -> BaseException:
    """The error as something that can cross to another process, with its traceback as a note."""
    text = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(text)
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
