"""`compat plugins list` and `show`: what a user reads about what is installed."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from compat_spec import registry
from compat_spec.cli import plugins
from compat_spec.cli.main import main
from compat_spec.errors import UsageError
from tests.installed import Site

KINDS = [namespace.removeprefix("compat.") for namespace in registry.CONTRACTS]


def printed(*arguments: str, columns: int = 200) -> str:
    environment = {"COLUMNS": str(columns)}
    result = CliRunner().invoke(plugins.app, list(arguments), env=environment, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def words(line: str) -> str:
    return " ".join(line.split())


# ------------------------------------------------------------------------------------------------------------ list


def test_list_has_a_line_for_every_plugin_below_its_kind() -> None:
    lines = [words(line) for line in printed("list").splitlines()]
    expected = []
    for kind in KINDS:
        expected.append(kind)
        for plugin in registry.plugins(f"compat.{kind}"):
            ours = plugin.distribution == "compat-spec"
            origin = "" if ours else f" [{plugin.distribution} {plugin.distribution_version}]"
            expected.append(f"{plugin.name} {plugin.summary}{origin}")
    assert lines[: len(expected)] == expected
    assert "compat plugins show NAME" in lines[-1]


def test_list_of_one_kind_has_no_others() -> None:
    names = [line.split()[0] for line in printed("list", "merges").splitlines() if line.startswith("  ")]
    assert names == list(registry.names("compat.merges"))


def test_list_folds_into_a_narrow_terminal() -> None:
    text = printed("list", columns=60)
    assert max(map(len, text.splitlines())) <= 60
    for namespace in registry.CONTRACTS:
        for plugin in registry.plugins(namespace):
            assert plugin.name in text
    assert "of the models' parameters." in words(text)


def test_list_of_an_unknown_kind_says_which_there_are() -> None:
    with pytest.raises(UsageError, match=f"'merge' is not a kind of plugin; there are {', '.join(KINDS)}"):
        printed("list", "merge")


# ------------------------------------------------------------------------------------------------------------ show


def test_show_has_the_help_and_the_parameters_with_types_defaults_and_meanings() -> None:
    text = printed("show", "routing")
    assert text.startswith("routing (merge), from compat-spec ")
    assert "compat_plugins.merges.routing:Routing" in text
    assert "arXiv:2411.02207" in text
    rows = {line.split()[0]: re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip()}
    assert rows["parameter"] == ["parameter", "type", "default", "meaning"]
    assert rows["models"][:3] == ["models", "list of string", "required"]
    assert rows["router"][:3] == ["router", "per_block | shared | previous | sequence", '"per_block"']
    assert rows["span"][:3] == ["span", "integer", "1"]
    assert rows["top_k"][:2] == ["top_k", "integer or null"]
    assert rows["top_k"][2].startswith("How many experts a token goes to"), "no default is shown for null"


def test_show_has_words_for_numbers_that_differ_by_tensor_and_by_model() -> None:
    rows = [re.split(r"\s{2,}", line.strip()) for line in printed("show", "ties").splitlines()]
    types = {row[0]: row[1] for row in rows if len(row) == 4}
    assert types["lambda"] == "number per tensor"
    assert types["weight"] == types["density"] == "number per tensor, or list with one per model"


@pytest.mark.parametrize("namespace", registry.CONTRACTS)
def test_show_tells_every_parameter_of_every_plugin(namespace: str) -> None:
    for plugin in registry.plugins(namespace):
        assert plugin.component is not None
        text = printed("show", plugin.name)
        shown = [line.split()[0] for line in text.splitlines() if line and not line.startswith(" ")]
        for name, field in plugin.component.parameters().items():
            assert name in shown
            if field.description:
                assert words(field.description)[:40] in words(text)


def test_show_of_an_unknown_name_gives_the_nearest_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, advice in {"rooting": "did you mean 'routing'?", "zzz": "see compat plugins list"}.items():
        monkeypatch.setattr("sys.argv", ["compat", "plugins", "show", name])
        with pytest.raises(SystemExit) as raised:
            main()
        assert raised.value.code == 2
        assert capsys.readouterr().err == f"compat: no plugin {name!r} is installed; {advice}\n"


# ----------------------------------------------------------------------------------------------- plugins of others

THEIRS = '''\
from collections.abc import Callable

from compat_spec.components import Task, TensorMerge


class Tower(TensorMerge):
    """Stacks the models.

    Of [bold]nobody[/bold], 2031.
    """

    height: float = 0.5

    def combine(self, tensors, base, *, at):
        return tensors[0]


class Crane(Tower):
    """Stacks the models by a function."""

    how: Callable[[int], int] | None = None


class TowerTask(Task):
    """Examples of towers."""

    def splits(self):
        return {}
'''
ENTRY_POINTS = "[compat.merges]\ntower = theirs:Tower\ncrane = theirs:Crane\n[compat.tasks]\ntower = theirs:TowerTask\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("site"))
    site.install("their-towers", ENTRY_POINTS, theirs=THEIRS)
    return site


def test_list_says_where_the_plugins_of_others_come_from(site: Site) -> None:
    done = site.compat("plugins", "list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = list(map(words, done.stdout.splitlines()))
    assert [line for line in lines if line.endswith("[their-towers 1.0]")] == [
        "tower Examples of towers. [their-towers 1.0]",
        "crane Stacks the models by a function. [their-towers 1.0]",
        "tower Stacks the models. [their-towers 1.0]",
    ]
    assert "linear The weighted average of the models' parameters." in lines


def test_show_tells_of_all_that_have_the_name_to_the_letter(site: Site) -> None:
    done = site.compat("plugins", "show", "tower")
    assert (done.returncode, done.stderr) == (0, "")
    task, merge = done.stdout.split("tower (merge), from their-towers 1.0\ntheirs:Tower\n")
    assert task.startswith("tower (task), from their-towers 1.0\ntheirs:TowerTask\n")
    assert "Of [bold]nobody[/bold], 2031." in merge
    assert "height number 0.5" in map(words, merge.splitlines())


def test_show_of_a_parameter_that_json_has_no_word_for(site: Site) -> None:
    done = site.compat("plugins", "show", "crane")
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    assert {"height", "how"} <= set(shown)


def test_it_has_examples() -> None:
    assert "Example: compat plugins list merges" in printed("list", "--help")
    assert "Example: compat plugins show routing" in printed("show", "--help")
