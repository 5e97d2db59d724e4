"""`compat plugins check`: whether installed components keep their contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from compat_spec import registry
from compat_spec.cli import plugins
from compat_spec.cli.check import _named
from compat_spec.errors import UsageError
from compat_spec.testing import checks_of
from tests.installed import Site

THEIRS = '''\
from pydantic import Field

from compat_spec.components import TensorMerge


class Sum(TensorMerge):
    """The sum of the models."""

    def combine(self, tensors, base, *, at):
        total = tensors[0]
        for tensor in tensors[1:]:
            total += tensor
        return total


class Named(TensorMerge):
    """The first model."""

    recipe: str = Field(description="Something that nobody can guess.")

    def combine(self, tensors, base, *, at):
        return tensors[0]
'''
MERGES = """\
[compat.merges]
sum = their_merges:Sum
named = their_merges:Named
lost = nowhere:Merge
linear = their_merges:Sum
"""


@pytest.fixture
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.install("their-merges", MERGES, their_merges=THEIRS)
    with site.here():
        yield


def run(*arguments: str, columns: int = 200) -> tuple[int, str]:
    result = CliRunner().invoke(plugins.app, ["check", *arguments], env={"COLUMNS": str(columns)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_a_good_component_passes_check_by_check() -> None:
    status, text = run("compat-spec:linear", columns=80)
    assert status == 0
    lines = text.splitlines()
    assert lines[0].startswith("linear (merge), from compat-spec ")
    cls = registry.component("compat.merges", "linear")
    for check in checks_of(cls):
        assert any(check.name in line for line in lines)
    assert "  ✓ agrees_in_pieces" in [line.rstrip() for line in lines]
    assert lines[-1].startswith(f"{len(checks_of(cls))} checks: ")
    assert "failed" not in text
    assert max(map(len, lines)) <= 80


@pytest.mark.usefixtures("here")
def test_a_bad_one_fails_with_what_it_did() -> None:
    status, text = run("sum")
    assert status == 1
    assert "✗ leaves_inputs_unchanged" in text
    assert "The tensor of model 0 was changed in place" in text
    assert "✗ keeps_what_is_equal" in text
    assert "failed" in text.splitlines()[-1]


@pytest.mark.usefixtures("here")
def test_several_are_a_line_each_with_what_is_wrong_below_it() -> None:
    status, text = run("compat-spec:slerp", "their-merges:sum", "nearswap")
    assert status == 1
    heads = [line for line in text.splitlines() if line[:1] in "✓✗" and line]
    assert [line.split()[1] for line in heads] == ["slerp", "sum", "nearswap"]
    assert text.splitlines()[-1].endswith(" of them do not keep their contract")


def test_what_could_not_be_checked_is_not_said_to_keep_its_contract() -> None:
    status, text = run("text", "compat-spec:nearswap")
    assert status == 0
    assert "- text (task)" in text
    last = " ".join(text[text.index("2 components") :].split())
    assert last.startswith("2 components: all keep their contract, as far as they could be checked: 1 could not,")


def test_a_kind_is_all_that_there_is_of_it_each_once() -> None:
    named = [(plugin.namespace, plugin.use) for plugin in _named(["merges", "linear", "compat-spec:slerp", "local"])]
    assert named == [
        *(("compat.merges", name) for name in registry.names("compat.merges")),
        ("compat.executors", "local"),
    ]


@pytest.mark.usefixtures("here")
def test_a_name_that_several_have_is_all_of_them() -> None:
    _, text = run("linear")
    assert "linear (merge), from compat-spec" in text
    assert "their-merges:linear (merge), from their-merges 1.0" in text


@pytest.mark.usefixtures("here")
def test_parameters_that_cannot_be_made_up_are_asked_for_once_and_can_be_given() -> None:
    status, text = run("named")
    assert status == 0
    assert text.count("nothing says what 'recipe' of Named may be") == 1
    assert "--with recipe=…" in text
    status, text = run("named", "--with", "recipe=a pinch")
    assert status == 0
    assert "recipe" not in text


@pytest.mark.usefixtures("here")
def test_one_that_does_not_load_fails() -> None:
    status, text = run("lost")
    assert status == 1
    assert "it does not load: ModuleNotFoundError: No module named 'nowhere'; see compat plugins doctor" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["linaer"], "no plugin 'linaer' is installed; did you mean 'linear'?"),
        (["linear", "--with", "weight"], "--with weight: write NAME=VALUE"),
        (["linear", "--with", "weight=[1"], "is no YAML"),
    ],
)
def test_what_cannot_be_meant_is_an_error(arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError) as raised:
        run(*arguments)
    assert words in str(raised.value)
