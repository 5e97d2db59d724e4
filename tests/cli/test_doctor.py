"""`compat plugins doctor`: what is broken, why, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from compat_spec import doctor
from compat_spec.cli import plugins
from tests.installed import Site

GOOD = '''\
from compat_spec.components import TensorMerge


class First(TensorMerge):
    """Takes the first model."""

    def combine(self, tensors, base, *, at):
        return tensors[0]


class Unfinished(TensorMerge):
    """Has no idea yet."""


class Silent(First):
    """takes something"""

    strength: float = 1.0


MADE = First(models=("a",))
'''
MODULES = {
    "theirs": GOOD,
    "needs_plain": "import a_library_that_is_not_there\n",
    "needs_extra": "import plotly_like\n",
    "needs_listed": "import their_listed_library\n",
    "garbled": "class Almost\n",
    "no_gpu": "assert False, 'it needs a GPU'\n",
    "outdated": "from compat_spec.components import NoSuchThing\n",
}
ENTRY_POINTS = """\
[compat.merges]
fine = theirs:First
typo = theirs:Frist
unfinished = theirs:Unfinished
silent = theirs:Silent
made = theirs:MADE
metric = compat_plugins.metrics.cka:CKA
plain = theirs:GOOD_IDEA
class = builtins:dict
needs_plain = needs_plain:Merge
needs_extra = needs_extra:Merge
needs_listed = needs_listed:Merge
lost = their_lost_module:Merge
garbled = garbled:Almost
no_gpu = no_gpu:Merge
outdated = outdated:Merge
linear = theirs:First
[compat.merge]
nobody = theirs:First
[compat.anatomies]
phi = theirs:First
[compat.zzz]
stray = theirs:First
[compat.importers]
tool = their_importer:convert
"""
NEEDS = ("compat-spec<0.1", "their-listed.library>=2", 'plotly-like>=5; extra == "plot"', "numpy", "torch<1")


def examined(site: Site) -> dict[str, doctor.Finding]:
    """The findings of the distribution, by what they are about."""
    with site.here():
        return {finding.about: finding for finding in doctor.examine()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("site"))
    site.install("their-pkg", ENTRY_POINTS, required=NEEDS, **MODULES)
    return site


@pytest.fixture(scope="module")
def found(site: Site) -> dict[str, doctor.Finding]:
    return examined(site)


@pytest.mark.parametrize(
    ("name", "what", "advice"),
    [
        ("typo", "has no attribute 'Frist'", "did you mean theirs:First?"),
        ("unfinished", "does not implement combine", ""),
        ("made", "theirs:MADE is not a compat_spec.components.Merge", "register the class First"),
        ("metric", "is not a compat_spec.components.Merge", "it is a Metric: register it in compat.metrics"),
        ("class", "is not a compat_spec.components.Merge", "derive the class from ModuleMerge or TensorMerge of"),
        ("needs_plain", "No module named 'a_library_that_is_not_there'", "pip install a-library-that-is-not-there, if"),
        ("needs_extra", "No module named 'plotly_like'", "pip install 'their-pkg[plot]'"),
        ("needs_listed", "No module named 'their_listed_library'", "pip install 'their-listed.library>=2'"),
        ("lost", "No module named 'their_lost_module'", "their-pkg has no module their_lost_module"),
        ("garbled", "SyntaxError", "garbled.py:1"),
        ("no_gpu", "AssertionError: it needs a GPU", ""),
        ("outdated", "ImportError: cannot import name 'NoSuchThing'", "pip install --upgrade their-pkg"),
    ],
)
def test_a_broken_plugin_is_told_with_its_reason_and_its_cure(
    found: dict[str, doctor.Finding], name: str, what: str, advice: str
) -> None:
    finding = found[f"{name} (merge) of their-pkg 1.0"]
    assert finding.gravity == "broken"
    assert what in finding.what
    assert advice in finding.advice
    assert bool(advice) == bool(finding.advice)


def test_a_group_that_nobody_reads_is_told(found: dict[str, doctor.Finding]) -> None:
    nobody, stray = found["nobody of their-pkg 1.0"], found["stray of their-pkg 1.0"]
    assert nobody.what == "it is registered in compat.merge, which nobody reads"
    assert nobody.advice == "did you mean compat.merges?"
    assert stray.advice.startswith("there are compat.models, compat.trainers, ")
    assert stray.gravity == "broken"
    assert "phi of their-pkg 1.0" not in found, "compat_spec.nn.anatomy reads it"


def test_what_a_distribution_needs_is_told(site: Site) -> None:
    with site.here():
        found = [finding for finding in doctor.examine() if finding.about == "their-pkg 1.0"]
    assert [finding.what for finding in found] == [
        "it needs compat-spec<0.1, and compat-spec 0.1.0 is installed",
        "it needs their-listed.library>=2, and no their-listed.library is installed",
        f"it needs torch<1, and torch {doctor._version('torch')} is installed",
    ], "neither what is there nor what an extra asks for"
    assert found[0].advice == "take a version of it for 0.1.0: pip install --upgrade their-pkg"
    assert found[1].advice == "pip install 'their-listed.library>=2'"


def test_an_importer_that_does_not_load_is_told(found: dict[str, doctor.Finding]) -> None:
    assert "No module named 'their_importer'" in found["tool (importer) of their-pkg 1.0"].what


def test_what_those_who_use_it_would_miss_is_untidy(site: Site) -> None:
    with site.here():
        found = [finding for finding in doctor.examine() if finding.about.startswith("silent (merge)")]
    assert {finding.gravity for finding in found} == {"untidy"}
    text = "\n".join(finding.what for finding in found)
    assert "no whole sentence: 'takes something'" in text
    assert "Nothing says what strength means" in text


def test_what_is_fine_is_not_told(found: dict[str, doctor.Finding]) -> None:
    assert "fine (merge) of their-pkg 1.0" not in found
    assert not [about for about in found if "compat-spec" in about]


def test_a_clash_with_ours_says_who_wins_and_how_to_choose(found: dict[str, doctor.Finding]) -> None:
    clash = found["linear (merge)"]
    assert clash.gravity == "clash"
    assert clash.what.endswith(
        "and their-pkg 1.0 have it; linear alone means compat-spec:linear, which ships with compat"
    )
    assert clash.advice == "use: their-pkg:linear for the other"


def test_a_clash_of_two_others_says_that_nobody_wins(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for name in ("one", "two"):
        site.install(name, f"[compat.merges]\nfirst = {name}_merges:First\n", **{f"{name}_merges": GOOD})
    clash = examined(site)["first (merge)"]
    assert clash.what == "one 1.0 and two 1.0 have it; first alone means none of them"
    assert clash.advice == "use: one:first or two:first"


def run(columns: int = 120) -> tuple[int, str]:
    result = CliRunner().invoke(plugins.app, ["doctor"], env={"COLUMNS": str(columns)})
    return result.exit_code, result.stdout


def test_all_is_well_here() -> None:
    status, text = run()
    assert status == 0
    assert text.splitlines()[-1].endswith(": all is well")


def test_the_command_ends_with_1_when_something_is_broken(site: Site) -> None:
    with site.here():
        status, text = run(columns=80)
    assert status == 1
    assert text.startswith(
        "Broken\n  nobody of their-pkg 1.0\n    it is registered in compat.merge, which nobody reads\n"
    )
    assert "    → did you mean compat.merges?\n" in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[-1].endswith("broken, 1 clashing, 2 untidy")


def test_a_clash_alone_is_not_broken(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.install("one", "[compat.merges]\nlinear = one_merges:First\n", one_merges=GOOD)
    with site.here():
        status, text = run()
    assert status == 0
    assert text.splitlines()[-1].endswith(": 1 clashing")
