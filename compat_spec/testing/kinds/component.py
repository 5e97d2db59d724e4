"""What holds for every component: its parameters, its help, and how cheap it is to import."""

from __future__ import annotations

import inspect

from compat_spec.testing.checks import Checks, Subject, demand

check = Checks()

HEAVY = ("torch", "transformers", "tokenizers", "datasets")


@check
def says_what_it_does(subject: Subject) -> None:
    """The docstring's first line says what it does, in a sentence."""
    own = subject.component.__dict__.get("__doc__")
    line = inspect.cleandoc(own or "").partition("\n")[0]
    demand(
        bool(line),
        f"{subject.name} has no docstring: `compat plugins list` shows its first line, such as "
        '"The weighted average of the models\' parameters."',
    )
    demand(
        line.rstrip('"').endswith((".", "!", "?")),
        f"the docstring's first line is no whole sentence: {line!r}; lists show that line alone, so say there what "
        f"{subject.name} does, and end it with a full stop",
    )
