"""Names that several distributions have: what a plain one means, how to choose, and that no two are ever mixed up."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from typer.testing import CliRunner

from compat_plugins.merges.linear import Linear
from compat_spec import installed, registry
from compat_spec.cli import plugins
from compat_spec.errors import CompatWarning
from compat_spec.plan import Plan, make_plan
from compat_spec.spec import SpecError, load
from compat_spec.spec.schema import json_schema
from tests.installed import Site
from tests.plan.experiments import SPEC, changed

FIRST = '''\
from compat_spec.components import TensorMerge


class First(TensorMerge):
    """Takes the {which} model."""

    def combine(self, tensors, base, *, at):
        return tensors[{index}]
'''
MERGES = "[compat.merges]\nlinear = {module}:First\nfirst = {module}:First\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two distributions that both have `first`, and `linear`, which compat has."""
    site = Site(tmp_path_factory.mktemp("site"))
    for name, module, which, index in (
        ("Zeta.Merges", "zeta_merges", "last", -1),
        ("alpha", "alpha_merges", "first", 0),
    ):
        text = FIRST.format(which=which, index=index)
        site.install(name, MERGES.format(module=module), **{module: text})
    trainers = "[compat.trainers]\nfinetune = alpha_trainer:Wait\nwait = alpha_trainer:Wait\n"
    site.install("alpha-trainers", trainers, alpha_trainer=TRAINER)
    return site


TRAINER = '''\
from compat_spec.components import TaskName, Trainer


class Wait(Trainer):
    """Does nothing."""

    on: TaskName

    def train(self, network, data, session): ...
'''


@pytest.fixture
def here(site: Site) -> Iterator[None]:
    with site.here():
        yield


def plan_of(tmp_path: Path, use: str, spec: str = SPEC) -> Plan:
    path = tmp_path / "spec.yaml"
    path.write_text(spec.replace("use: linear", f"use: {use}"), "utf-8")
    return make_plan(load(path))


def mistakes(tmp_path: Path, use: str) -> str:
    with pytest.raises(SpecError) as raised:
        plan_of(tmp_path, use)
    return str(raised.value).partition("spec.yaml:")[2]


# ------------------------------------------------------------------------------------------------- what a name means


@pytest.mark.usefixtures("here")
def test_a_plain_name_means_what_ships_with_compat_whoever_else_has_it() -> None:
    assert registry.component("compat.merges", "linear") is Linear
    assert registry.component("compat.merges", "compat-spec:linear") is Linear
    assert registry.component("compat.merges", "alpha:linear").__name__ == "First"


@pytest.mark.usefixtures("here")
def test_a_plain_name_of_several_others_means_none_of_them() -> None:
    words = "2 distributions have a merge 'first': alpha and zeta-merges; write alpha:first or zeta-merges:first"
    with pytest.raises(registry.PluginError, match=f"^{words}$"):
        registry.component("compat.merges", "first")
    assert registry.component("compat.merges", "alpha:first").__module__ == "alpha_merges"
    assert registry.component("compat.merges", "zeta-merges:first").__module__ == "zeta_merges"


@pytest.mark.usefixtures("here")
def test_a_name_that_only_one_has_means_that_one() -> None:
    assert registry.component("compat.trainers", "wait") is registry.component("compat.trainers", "alpha-trainers:wait")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("distribution", ["zeta-merges", "Zeta.Merges", "ZETA_merges", "zeta--merges"])
def test_distributions_are_compared_as_pip_compares_them(distribution: str) -> None:
    found = registry.plugin("compat.merges", f"{distribution}:first")
    assert (found.distribution, found.use) == ("zeta-merges", "zeta-merges:first")


@pytest.mark.usefixtures("here")
def test_each_is_listed_once_by_the_shortest_name_that_means_it() -> None:
    names = registry.names("compat.merges")
    assert len(set(names)) == len(names) == len(list(registry.plugins("compat.merges")))
    assert {"linear", "alpha:linear", "zeta-merges:linear", "alpha:first", "zeta-merges:first"} <= set(names)
    assert not {"first", "compat-spec:linear"} & set(names)
    for name in names:
        assert registry.plugin("compat.merges", name).use == name


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("alpha:frist", "did you mean 'alpha:first'?"),
        ("alhpa:first", "did you mean 'alpha:first'?"),
        ("linearr", "did you mean 'linear'?"),
        ("compat-spec:linnear", "did you mean 'compat-spec:linear'?"),
    ],
)
def test_a_typo_gets_the_nearest_name(name: str, words: str) -> None:
    with pytest.raises(registry.PluginError, match=re.escape(words)):
        registry.component("compat.merges", name)


def test_the_meaning_is_the_same_whatever_order_the_path_has(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.here():
        after = [one.qualified for one in installed.registered("compat.merges")]
    monkeypatch.syspath_prepend(str(site.folder))
    registry.forget()
    assert [one.qualified for one in installed.registered("compat.merges")] == after
    assert registry.component("compat.merges", "linear") is Linear
    monkeypatch.undo()
    registry.forget()


# ------------------------------------------------------------------------------------------------------ in a spec


@pytest.mark.usefixtures("here")
def test_a_spec_with_a_plain_name_of_ours_is_warned_and_means_the_same(tmp_path: Path) -> None:
    with pytest.warns(CompatWarning) as caught:
        plan_of(tmp_path, "linear")
    (warning,) = caught
    assert str(warning.message).endswith(
        "spec.yaml:14:18: merges.average.use: warning: 3 distributions have a merge 'linear': compat-spec and alpha "
        "and zeta-merges; compat-spec's is used, which ships with compat; write compat-spec:linear or alpha:linear or "
        "zeta-merges:linear"
    )


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("use", ["compat-spec:linear", "alpha:linear"])
def test_a_spec_that_chooses_is_not_warned_nor_one_that_leaves_the_trainer_out(tmp_path: Path, use: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompatWarning)
        plan_of(tmp_path, use)


@pytest.mark.usefixtures("here")
def test_a_spec_with_a_plain_name_of_several_others_is_refused(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "first") == (
        "14:18: merges.average.use: 2 distributions have a merge 'first': alpha and zeta-merges; "
        "write alpha:first or zeta-merges:first"
    )


@pytest.mark.usefixtures("here")
def test_a_qualified_name_of_another_kind_says_so(tmp_path: Path) -> None:
    assert "'alpha-trainers:wait' is for trainers, not for merges" in mistakes(tmp_path, "alpha-trainers:wait")


def test_the_command_prints_the_warning_alone(site: Site) -> None:
    (site.folder / "spec.yaml").write_text(SPEC, "utf-8")
    done = site.compat("validate", "spec.yaml")
    assert done.returncode == 0
    assert done.stdout.startswith("spec.yaml: ok: ")
    (line,) = done.stderr.splitlines()
    assert line.startswith("spec.yaml:14:18: merges.average.use: warning: 3 distributions have a merge 'linear'")


# --------------------------------------------------------------------------------------------------- fingerprints


@pytest.mark.usefixtures("here")
def test_no_two_distributions_share_what_stands_for_their_code() -> None:
    identities = [registry.source_identity("compat.merges", name) for name in registry.names("compat.merges")]
    assert len(set(identities)) == len(identities)
    assert registry.source_identity("compat.merges", "alpha:linear") == "alpha:linear:1"


@pytest.mark.parametrize(
    ("identity", "parts"),
    [
        ("linear:1", ("linear", "1", None)),
        ("linear:2:0123456789abcdef", ("linear", "2", "0123456789abcdef")),
        ("alpha:linear:1", ("alpha:linear", "1", None)),
        ("alpha:linear:1.2:0123456789abcdef", ("alpha:linear", "1.2", "0123456789abcdef")),
    ],
)
def test_what_stands_for_code_can_be_read_again(identity: str, parts: tuple[str, str, str | None]) -> None:
    assert registry.identity_parts(identity) == parts


@pytest.mark.usefixtures("here")
@pytest.mark.filterwarnings("ignore::compat_spec.errors.CompatWarning")
def test_two_spellings_of_one_component_are_the_same_steps(tmp_path: Path) -> None:
    plain, qualified = plan_of(tmp_path, "linear"), plan_of(tmp_path, "Compat_Spec:linear")
    assert list(plain.steps) == list(qualified.steps)
    assert changed(plain, plan_of(tmp_path, "alpha:linear")) == {"merge average", "loss of average on program"}
    alpha, zeta = plan_of(tmp_path, "alpha:linear"), plan_of(tmp_path, "zeta_merges:linear")
    assert changed(alpha, zeta) == {"merge average", "loss of average on program"}


def test_steps_are_the_same_before_a_stranger_is_installed_and_after(site: Site, tmp_path: Path) -> None:
    before = plan_of(tmp_path, "linear")
    with site.here(), pytest.warns(CompatWarning):
        after = plan_of(tmp_path, "linear")
    assert list(before.steps) == list(after.steps)


def test_a_strangers_step_is_the_same_whether_the_name_clashes_or_not(tmp_path: Path) -> None:
    alone = Site(tmp_path / "alone")
    alone.folder.mkdir()
    alone.install(
        "alpha", "[compat.merges]\nfirst = alpha_merges:First\n", alpha_merges=FIRST.format(which="", index=0)
    )
    with alone.here():
        plain, qualified = plan_of(tmp_path, "first"), plan_of(tmp_path, "alpha:first")
        (use,) = {model.use for model in plain.models if model.name == "average"}
    assert list(plain.steps) == list(qualified.steps)
    assert use == "alpha:first", "results say whose it is"


@pytest.mark.usefixtures("here")
@pytest.mark.filterwarnings("ignore::compat_spec.errors.CompatWarning")
def test_results_call_a_component_by_one_name_however_it_is_spelt(tmp_path: Path) -> None:
    for written, recorded in {
        "linear": "linear",
        "COMPAT_SPEC:linear": "linear",
        "Zeta.Merges:first": "zeta-merges:first",
    }.items():
        plan = plan_of(tmp_path, written)
        assert {model.use for model in plan.models if model.name == "average"} == {recorded}
        (call,) = [step.component for step in plan.steps.values() if step.label == "merge average"]
        assert call is not None
        assert call.use == recorded, "what another process, or another day, reads of the step"


# -------------------------------------------------------------------------------------------------- schema, commands


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("use", "fits"),
    [
        ("linear", True),
        ("compat-spec:linear", True),
        ("alpha:linear", True),
        ("first", False),
        ("zeta-merges:first", True),
    ],
)
def test_editors_take_what_a_spec_may_say(use: str, fits: bool) -> None:
    document = yaml.safe_load(re.sub(r"\bon:", '"on":', SPEC.replace("use: linear", f"use: {use}")))
    errors = list(jsonschema.Draft7Validator(json_schema()).iter_errors(document))
    assert (not errors) is fits
    document["merges"]["average"]["no_such_parameter"] = 1
    assert list(jsonschema.Draft7Validator(json_schema()).iter_errors(document)), "parameters are known by either name"


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(plugins.app, list(arguments), env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.usefixtures("here")
def test_a_list_tells_them_apart() -> None:
    lines = {line.split()[0]: " ".join(line.split()) for line in printed("list", "merges").splitlines() if line.strip()}
    assert lines["alpha:first"] == "alpha:first Takes the first model. [alpha 1.0]"
    assert lines["zeta-merges:first"] == "zeta-merges:first Takes the last model. [zeta-merges 1.0]"
    assert lines["linear"].startswith("linear The weighted average of the models' parameters. [compat-spec ")
    assert "compat plugins doctor says which" in lines["Some"]


@pytest.mark.usefixtures("here")
def test_show_tells_of_all_that_a_name_may_mean_and_of_one_that_is_qualified() -> None:
    both = printed("show", "first")
    assert "alpha:first (merge), from alpha 1.0" in both
    assert "zeta-merges:first (merge), from zeta-merges 1.0" in both
    assert "write alpha:first or zeta-merges:first" in both
    one = printed("show", "zeta_merges:first")
    assert "Takes the last model." in one
    assert "alpha:first (merge)" not in one


@pytest.mark.usefixtures("here")
def test_results_call_an_executor_as_specs_do_whatever_its_class_is_called() -> None:
    assert registry.name_of(registry.component("compat.executors", "inline")) == "inline"
    assert registry.name_of(registry.component("compat.merges", "alpha:first")) == "alpha:first"


def test_the_message_of_a_clash_has_the_article_of_its_kind() -> None:
    assert installed.a_kind("compat.executors") == "an executor"
    assert installed.a_kind("compat.merges") == "a merge"


def test_an_executor_may_be_qualified(site: Site) -> None:
    from compat_spec.cli.executors import make_executor

    assert type(make_executor("compat-spec:inline", {}, ())).__name__ == "Inline"
    with pytest.raises(registry.PluginError, match="did you mean 'compat-spec:inline'"):
        make_executor("compat-spec:inlin", {}, ())


def test_a_schema_in_json_has_the_qualified_names_of_ours() -> None:
    assert '"compat-spec:slerp"' in json.dumps(json_schema())
