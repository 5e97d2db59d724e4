"""Parameters of an executor on the command line."""

from __future__ import annotations

import pytest

from compat_plugins.executors.local import Local
from compat_spec.cli.executors import make_executor
from compat_spec.errors import UsageError

NONE = {"workers": None, "address": None}


def test_parameters_are_those_of_the_executor() -> None:
    for pairs, options, workers in (([], NONE, None), (["workers=3"], NONE, 3), ([], {"workers": 3}, 3)):
        executor = make_executor("local", options, pairs)
        assert isinstance(executor, Local)
        assert executor.workers == workers


@pytest.mark.parametrize(
    ("name", "options", "pairs", "message"),
    [
        ("local", {"address": "auto"}, [], "--address: the executor local runs here, and has no address"),
        ("inline", {"workers": 2}, [], "--workers: the executor inline has no number of workers to choose"),
        (
            "local",
            NONE,
            ["worker=3"],
            "--with worker=3: the executor local has no parameter worker; did you mean workers?",
        ),
        ("local", NONE, ["gpus=1"], "--with gpus=1: the executor local has no parameter gpus; it has workers"),
        ("inline", NONE, ["gpus=1"], "--with gpus=1: the executor inline has no parameters"),
        ("local", NONE, ["workers"], "--with workers: write NAME=VALUE"),
        ("local", NONE, ["workers=0"], "--with workers=0: input should be greater than or equal to 1"),
        ("local", {"workers": 2}, ["workers=3"], "--with workers=3: workers was given already, as --workers 2"),
        ("local", NONE, ["workers=many"], "--with workers=many: input should be a valid integer"),
    ],
)
def test_what_cannot_be_meant_is_said(name: str, options: dict[str, object], pairs: list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_executor(name, options, pairs)
    assert str(raised.value).startswith(message)
    assert raised.value.exit_status == 2
