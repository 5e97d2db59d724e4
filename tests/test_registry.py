"""Plugins: found by name, loaded alone, and unable to break one another."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from compat_spec import registry
from compat_spec.components import Component, Merge, TensorMerge
from tests.run.experiments import COMPAT, SPEC

GOOD = '''
"""A third party's merge."""

from compat_spec.components import TensorMerge


class Middle(TensorMerge):
    """Takes the middle value of each parameter."""

    def combine(self, tensors, base, *, at):
        import torch

        return torch.stack(tensors).median(dim=0).values
'''

PLUGINS = {
    "good": ("good_plugin:Middle", GOOD),
    "raises": ("raising_plugin:Merge", "raise RuntimeError('no licence for this machine')\n"),
    "absent": ("no_such_module:Merge", None),
    "nameless": ("nameless_plugin:Missing", "x = 1\n"),
    "something": ("other_plugin:Thing", "class Thing:\n    '''Not a component.'''\n"),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a distribution with one good plugin and several broken ones, as pip would leave it."""
    folder = tmp_path_factory.mktemp("installed")
    metadata = folder / "compat_mixed-1.5.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: compat-mixed\nVersion: 1.5\n", "utf-8")
    points = "".join(f"{name} = {target}\n" for name, (target, _) in PLUGINS.items())
    (metadata / "entry_points.txt").write_text(f"[compat.merges]\n{points}", "utf-8")
    for target, source in PLUGINS.values():
        if source is not None:
            (folder / f"{target.partition(':')[0]}.py").write_text(source, "utf-8")
    return folder


def run(*command: str | Path, path: Path | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path or ""), "COLUMNS": "200"}
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120)


# ----------------------------------------------------------------------------------------------------- finding, loading


def test_names_are_known_without_loading_anything() -> None:
    code = (
        "import sys; from compat_spec import registry; "
        "print([registry.names(space) for space in registry.CONTRACTS]); "
        "print([name for name in sys.modules if name.startswith('compat_plugins')])"
    )
    names, modules = run(sys.executable, "-c", code).stdout.splitlines()
    assert "'routing'" in names
    assert "'causal_lm'" in names
    assert modules == "[]"


def test_loading_one_plugin_loads_no_other() -> None:
    code = (
        "import sys; from compat_spec import registry; registry.component('compat.merges', 'slerp'); "
        "print(sorted(name for name in sys.modules if name.startswith('compat_plugins.')))"
    )
    loaded = run(sys.executable, "-c", code).stdout
    assert loaded.strip() == "['compat_plugins.merges', 'compat_plugins.merges.slerp']"


def test_a_plugin_knows_where_it_comes_from() -> None:
    plugin = registry.plugin("compat.merges", "linear")
    assert (plugin.distribution, plugin.error) == ("compat-spec", None)
    assert plugin.target == "compat_plugins.merges.linear:Linear"
    assert plugin.summary == "The weighted average of the models' parameters."
    assert plugin.component is not None
    assert issubclass(plugin.component, TensorMerge)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(registry.PluginError, match="no merge plugin 'linnear'; did you mean 'linear'"):
        registry.component("compat.merges", "linnear")
    with pytest.raises(registry.PluginError, match="no executor plugin 'zzz'; installed: inline"):
        registry.component("compat.executors", "zzz")


@pytest.mark.parametrize("namespace", registry.CONTRACTS)
def test_every_plugin_of_ours_fulfils_its_contract_and_says_what_it_does(namespace: str) -> None:
    found = list(registry.plugins(namespace))
    assert found
    for plugin in found:
        assert plugin.error is None
        assert plugin.component is not None
        assert issubclass(plugin.component, registry.CONTRACTS[namespace])
        assert plugin.summary.endswith((".", '."'))
        assert plugin.component.model_json_schema()["additionalProperties"] is False
        for name, field in plugin.component.model_fields.items():
            assert field.description, f"{plugin.name}.{name} says nothing of itself"


EXAMPLES = [
    (plugin.name, plugin.component, example)
    for namespace in registry.CONTRACTS
    for plugin in registry.plugins(namespace)
    for example in re.findall(r"^Example:(.*)", inspect.getdoc(plugin.component) or "", re.DOTALL | re.MULTILINE)
]


@pytest.mark.parametrize(("name", "component", "text"), EXAMPLES, ids=[name for name, *_ in EXAMPLES])
def test_the_example_in_a_docstring_is_right(name: str, component: type[Component], text: str, tmp_path: Path) -> None:
    for file in ("data/train-1.jsonl", "data/test.jsonl", "checkpoints/unet.safetensors"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text('{"question": "?", "a": "!"}\n', "utf-8")
    call = yaml.safe_load(re.sub(r"\bon:", '"on":', textwrap.dedent(text)))
    call = call.get("train", call) if component.namespace == "compat.trainers" else call
    assert call.pop("use", name) == name
    component.model_validate(call, context={"folder": tmp_path})


def test_a_merge_is_combined_by_tensors_or_built_as_a_module() -> None:
    for plugin in registry.plugins("compat.merges"):
        assert plugin.component is not None
        assert issubclass(plugin.component, Merge)
        assert not getattr(plugin.component, "__abstractmethods__", None), plugin.name


# ------------------------------------------------------------------------------------------------------- broken plugins


def test_broken_plugins_are_listed_with_their_errors_beside_the_others(installed: Path) -> None:
    done = run(COMPAT, "plugins", "list", "merges", path=installed)
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert {"linear", "slerp", "routing"} <= set(lines)
    assert "broken: RuntimeError: no licence for this machine [compat-mixed 1.5]" in lines["raises"]
    assert "broken: ModuleNotFoundError: No module named 'no_such_module'" in lines["absent"]
    assert "broken: AttributeError: module 'nameless_plugin' has no attribute 'Missing'" in lines["nameless"]
    assert "other_plugin:Thing is not a compat_spec.components.Merge" in lines["something"]
    assert "Takes the middle value of each parameter. [compat-mixed 1.5]" in lines["good"]
    assert "broken" not in lines["linear"]


def test_a_broken_plugin_is_shown_with_its_error(installed: Path) -> None:
    done = run(COMPAT, "plugins", "show", "raises", path=installed)
    assert done.returncode == 0
    assert "broken: RuntimeError: no licence for this machine" in done.stdout


def test_a_spec_that_uses_a_broken_plugin_fails_with_its_error_and_others_do_not(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "fine.yaml").write_text(SPEC, "utf-8")
    (tmp_path / "broken.yaml").write_text(SPEC.replace("use: linear", "use: raises"), "utf-8")
    (tmp_path / "third.yaml").write_text(SPEC.replace("use: linear", "use: good"), "utf-8")
    done = run(COMPAT, "validate", "fine.yaml", "broken.yaml", "third.yaml", path=installed, cwd=tmp_path)
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["fine.yaml", "third.yaml"]
    (line,) = done.stderr.splitlines()
    assert line.startswith("broken.yaml:15:18: ")
    assert "merges.average.use: the plugin 'raises' of compat-mixed does not load: RuntimeError: no licence" in line


def test_a_merge_of_a_third_party_runs(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "third.yaml").write_text(SPEC.replace("use: linear", "use: good"), "utf-8")
    done = run(COMPAT, "run", "third.yaml", path=installed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = run(COMPAT, "show", "last", path=installed, cwd=tmp_path)
    assert "compat-mixed 1.5" in shown.stdout
    assert "compat-mixed:good of one, two" in shown.stdout


# ------------------------------------------------------------------------------------------------------- quick commands


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["merge", "--help"], ["plugins", "list"], ["plugins", "show", "routing"],
     ["validate", "tiny.yaml"], ["plan", "tiny.yaml"], ["import", "mergekit", "mergekit.yml"], ["schema"], ["version"]],
    ids=" ".join,
)  # fmt: skip
def test_commands_that_compute_nothing_import_neither_torch_nor_transformers(
    arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(SPEC, "utf-8")
    (tmp_path / "mergekit.yml").write_text(
        "merge_method: model_stock\nbase_model: base\nmodels: [{model: one}, {model: two}]\n", "utf-8"
    )
    code = (
        "import sys\n"
        "from compat_spec.cli.main import main\n"
        "sys.argv = ['compat', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print('loaded:', sorted(loaded & {'torch', 'transformers', 'tokenizers', 'datasets', 'altair'}))\n"
    )
    done = run(sys.executable, "-c", code, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"
