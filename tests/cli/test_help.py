"""`compat help`: every page, command and plugin can be read about, and a typo says what was meant."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compat_spec.cli.main import app
from compat_spec.errors import UsageError

ROOT = Path(__file__).parents[2]


def printed(*topic: str) -> str:
    result = CliRunner().invoke(app, ["help", *topic], env={"COLUMNS": "100"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_without_a_topic_it_lists_every_page() -> None:
    text = printed()
    for page in (ROOT / "docs").glob("*.md"):
        title = page.read_text("utf-8").partition("\n")[0].removeprefix("# ")
        assert any(line.split() == [page.stem, *title.split()] for line in text.splitlines()), page


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_a_page_is_shown_whole(page: Path) -> None:
    text = printed(page.stem)
    assert max(map(len, text.splitlines())) <= 100
    for heading in (line.strip("# ") for line in page.read_text("utf-8").splitlines() if line.startswith("## ")):
        assert heading.replace("`", "") in text


def test_links_say_what_to_type() -> None:
    text = printed("similarity")
    assert "compat help features says where features are taken" in " ".join(text.split())
    assert ".md)" not in text


def test_a_command_is_explained_as_by_itself() -> None:
    assert "--checkpoint-every" in printed("run")
    assert "--older-than" in printed("cache", "gc")


def test_a_plugin_is_explained() -> None:
    assert "arXiv:2306.01708" in printed("ties")


def test_an_unknown_topic_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="'tiess'; did you mean 'ties'"):
        CliRunner().invoke(app, ["help", "tiess"], catch_exceptions=False)
    with pytest.raises(UsageError, match="compat help lists the pages"):
        CliRunner().invoke(app, ["help", "xyzzyx"], catch_exceptions=False)


def test_the_pages_are_in_the_wheel(tmp_path: Path) -> None:
    build = "from hatchling.build import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"compat_spec/docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= set(names)
    assert not [name for name in names if name.startswith("compat_spec/docs") and not name.endswith(".md")]
