"""docs/testing-plugins.md says what is so: its examples run, and every check is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compat_spec.cli import plugins
from compat_spec.testing.kinds import FILES
from compat_spec.testing.listing import checks_table
from tests.installed import Site

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[2] / "docs" / "testing-plugins.md"
DOCS = PAGE.read_text("utf-8")
BLOCKS = dict(re.findall(r'```python title="(.*?)"\n(.*?)```', DOCS, re.DOTALL))
MERGE, TEST = BLOCKS["my_merge.py"], BLOCKS["test_my_merge.py"]


def outcome(pytester: pytest.Pytester, merge: str) -> pytest.RunResult:
    pytester.makepyfile(my_merge=merge, test_my_merge=TEST)
    pytester.syspathinsert()
    return pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "not gpu")


def test_the_example_fails_one_check_as_it_shows(pytester: pytest.Pytester) -> None:
    result = outcome(pytester, MERGE)
    (dots,) = re.findall(r"\$ pytest -q\n(.*)\n", DOCS)
    assert result.outlines[0].split()[0].rstrip("s") == dots
    (message,) = re.findall(r"```text\n(.*?)```", DOCS, re.DOTALL)
    assert " ".join(message.split()) in " ".join(result.stdout.str().split())


def test_what_it_says_mends_it(pytester: pytest.Pytester) -> None:
    mended = MERGE.replace("total = sum(weights)", "total = sum(weights).clamp_(min=1e-12)")
    assert mended != MERGE
    result = outcome(pytester, mended)
    assert result.parseoutcomes().get("failed", 0) == 0


def between(start: str, end: str) -> str:
    return DOCS.partition(start)[2].partition(end)[0].strip()


def test_every_check_is_in_it() -> None:
    assert between("<!-- checks -->", "## What is installed") == checks_table().strip()
    for contract in FILES:
        assert f"**{contract.__name__}**" in checks_table()


def test_the_doctor_says_what_it_shows(tmp_path: Path) -> None:
    site = Site(tmp_path)
    module = (
        "from compat_spec.components import TensorMerge\n\n\nclass Mine(TensorMerge):\n"
        '    """The first."""\n\n    def combine(self, tensors, base, *, at):\n        return tensors[0]\n'
    )
    points = (
        "[compat.merges]\nlinear = their_pkg:Mine\ngraph = their_graph:Merge\nscore = compat_plugins.metrics.cka:CKA\n"
        "[compat.metric]\ntheirs = their_pkg:Mine\n"
    )
    required = ("compat-spec<0.1", 'graph-tool-like>=2; extra == "graphs"')
    site.install("their-pkg", points, required=required, their_pkg=module, their_graph="import graph_tool_like\n")
    with site.here():
        result = CliRunner().invoke(plugins.app, ["doctor"], env={"COLUMNS": "100"})
    assert result.exit_code == 1
    shown = re.sub(r" +\n", "\n", result.stdout)
    (expected,) = re.findall(r"\$ compat plugins doctor\n(.*?)```", between("<!-- doctor -->", "## Two"), re.DOTALL)
    without_count = re.compile(r"\d+ plugins of \d+ distributions")
    assert without_count.sub("", shown) == without_count.sub("", expected)
