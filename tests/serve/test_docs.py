"""docs/serve.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from compat_spec.cli.main import app
from compat_spec.serve.site import Site
from tests.serve.conftest import ask

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text("utf-8")


def test_the_addresses_of_the_page_are_the_questions_of_the_site(site: Site) -> None:
    told = dict(re.findall(r"^\| `/results/(\w+)` \| ([^.?;|]*)", PAGE, re.MULTILINE))
    titles = {question.name: question.title.rstrip("?") for question in site.questions() if "." not in question.name}
    assert told == titles
    assert ask(site, "/results/best_merges.json?_shape=array&experiment=routing&task=program").json()
    assert "task,split,merge" in ask(site, "/results/best_merges.csv").text


def test_the_command_of_the_page_is_there() -> None:
    told = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).stdout
    for option in ("--open", "--port", "--results"):
        assert option in told
