"""What the packages of others may do: break in every way, take a name that is taken, be installed anew, be edited."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from compat_spec import registry
from tests.installed import Site

GOOD = '''\
from compat_spec.components import TensorMerge


class First(TensorMerge):
    """Takes the first model, whatever the others are."""

    strength: float = 1.0

    def combine(self, tensors, base, *, at):
        return tensors[0]
'''
THEIRS = "[compat.merges]\nfirst = their_merge:First\n"

SPEC = """\
tasks:
  math: {{use: word_problems}}
models:
  base:
    use: causal_lm
    config: {{model_type: gpt2, n_layer: 2, n_embd: 32, n_head: 2}}
    tokenizer: {{train_on: [math]}}
    train: {{on: math, steps: 4}}
  one: {{from: base, train: {{on: math, steps: 4}}}}
merges:
  mine: {{use: {use}, models: [base, one]}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def spec_using(site: Site, use: str) -> Path:
    path = site.folder / f"{use}.yaml"
    path.write_text(SPEC.format(use=use), "utf-8")
    return path


def listed(site: Site) -> dict[str, str]:
    """What a list of merges says of each, by name."""
    done = site.compat("plugins", "list", "merges")
    assert (done.returncode, done.stderr) == (0, "")
    return {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}


def test_the_parameters_of_their_merge_are_checked_like_ours(site: Site) -> None:
    site.install("their-merge", THEIRS, their_merge=GOOD)
    path = spec_using(site, "first")
    done = site.compat("validate", path, "--set", "merges.mine.strength=2")
    assert (done.returncode, done.stderr) == (0, "")
    done = site.compat("validate", path, "--set", "merges.mine.strenght=2")
    assert done.returncode == 2
    assert "did you mean 'strength'?" in done.stderr


# --------------------------------------------------------------------------------------------------- broken in all ways

MODULES = {
    "needs": "import a_library_that_is_not_there\n",
    "typo": "class Almost\n",
    "plain": "class NotAComponent: ...\nNUMBER = 3\n",
}
BROKEN = {
    "lacking": ("needs:Merge", "ModuleNotFoundError: No module named 'a_library_that_is_not_there'"),
    "unreadable": ("typo:Almost", "SyntaxError: "),
    "plain": ("plain:NotAComponent", "plain:NotAComponent is not a compat_spec.components.Merge"),
    "number": ("plain:NUMBER", "plain:NUMBER is not a compat_spec.components.Merge"),
    "metric": (
        "compat_plugins.metrics.cka:CKA",
        "compat_plugins.metrics.cka:CKA is not a compat_spec.components.Merge",
    ),
    "garbled": ("no such thing", ""),
}
"""Entry points of merges that are of no use, and what is wrong with them."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("site"))
    site.install("their-merge", THEIRS, their_merge=GOOD)
    lines = [f"{name} = {target}\n" for name, (target, _) in BROKEN.items()]
    site.install("broken-plugins", "[compat.merges]\n" + "".join(lines), **MODULES)
    return site


def test_each_is_listed_with_its_reason_and_all_others_are_whole(broken: Site) -> None:
    lines = listed(broken)
    for name, (_, reason) in BROKEN.items():
        assert f"broken: {reason}" in lines[name]
        assert "[broken-plugins 1.0]" in lines[name]
    whole = {"first", *registry.names("compat.merges")}
    assert set(lines) == {*whole, *BROKEN}
    assert not any("broken" in lines[name] for name in whole)


def test_each_spoils_only_the_specs_that_use_it(broken: Site) -> None:
    paths = [spec_using(broken, name) for name in BROKEN]
    done = broken.compat("validate", *paths, spec_using(broken, "first"), spec_using(broken, "linear"))
    assert done.returncode == 2
    assert done.stdout.count(": ok: ") == 2
    lines = done.stderr.splitlines()
    assert len(lines) == len(BROKEN), "a line for each, and no traceback"
    for line, path, (name, (_, reason)) in zip(lines, paths, BROKEN.items(), strict=True):
        assert line.startswith(f"{path}:11:15: merges.mine.use: the plugin {name!r} of broken-plugins does not load: ")
        assert reason in line


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("assert not 'here', 'it needs a GPU'\n", "AssertionError: it needs a GPU"),
        ("import sys\nsys.exit('it needs a GPU')\n", "SystemExit: it needs a GPU"),
    ],
    ids=["assert", "exit"],
)
def test_whatever_a_module_does_when_it_is_imported_the_others_are_listed(site: Site, module: str, reason: str) -> None:
    site.install("harsh", "[compat.merges]\nharsh = harsh_module:Merge\n", harsh_module=module)
    lines = listed(site)
    assert f"broken: {reason}" in lines["harsh"]
    assert "linear" in lines


# -------------------------------------------------------------------------------------------- names that come and go

FIND = """
import json
from compat_spec import registry
found = registry.plugin("compat.merges", "linear")
print(json.dumps([found.distribution, found.target, f"{found.component.__module__}:{found.component.__name__}"]))
"""


def test_a_name_that_two_distributions_have_is_of_the_one_that_is_shown(site: Site) -> None:
    site.install("their-merge", "[compat.merges]\nlinear = their_merge:First\n", their_merge=GOOD)
    distribution, target, component = json.loads(site.python(FIND).stdout)
    assert target == component
    assert distribution == ("their-merge" if target == "their_merge:First" else "compat-spec")


@pytest.mark.parametrize("then", [["first", "second"], ["first"]], ids=["one more", "one less"])
def test_a_distribution_that_is_installed_anew_has_its_new_names(site: Site, then: list[str]) -> None:
    metadata = site.install("their-merge", THEIRS, their_merge=GOOD)
    before = ["first"] if "second" in then else ["first", "second"]
    for names, moment in ((before, 1_700_000_000), (then, 1_700_000_010)):
        lines = [f"{name} = their_merge:First\n" for name in names]
        (metadata / "entry_points.txt").write_text("[compat.merges]\n" + "".join(lines), "utf-8")
        for path in (metadata / "entry_points.txt", metadata, site.folder):
            os.utime(path, (moment, moment))
        assert sorted(set(listed(site)) - set(registry.names("compat.merges"))) == names


# ------------------------------------------------------------------------------------------------ what stands for code

IDENTITY = "from compat_spec import registry; print(registry.source_identity('compat.merges', 'first'))"


def identity(site: Site) -> str:
    done = site.python(IDENTITY)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_installed_code_is_known_by_its_version(site: Site) -> None:
    site.install("their-merge", THEIRS, their_merge=GOOD)
    assert identity(site) == "their-merge:first:1"
    module = site.folder / "their_merge.py"
    module.write_text(GOOD.replace("tensors[0]", "tensors[-1]"), "utf-8")
    assert identity(site) == "their-merge:first:1", "who changes what it computes gives it another version"
    module.write_text(GOOD.replace("    strength", '    version = "2"\n    strength'), "utf-8")
    assert identity(site) == "their-merge:first:2"


def test_code_under_development_is_known_by_its_source(site: Site) -> None:
    metadata = site.install("their-merge", THEIRS, their_merge=GOOD)
    (metadata / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {"editable": True}}), "utf-8")
    before = identity(site)
    assert before.startswith("their-merge:first:1:")
    (site.folder / "their_merge.py").write_text(GOOD.replace("tensors[0]", "tensors[-1]"), "utf-8")
    assert identity(site).startswith("their-merge:first:1:")
    assert identity(site) != before
