"""The site builds without a warning, and has a page for everything."""

from __future__ import annotations

from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.xdist_group("site")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A warning, such as a link that leads nowhere, ends the building: the configuration is strict."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


def test_every_page_of_the_docs_is_in_the_navigation(site: Path) -> None:
    start = (site / "index.html").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f'href="{page.stem}/"' in start, page


def test_it_asks_no_other_server_for_anything(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        for asking in ('<script src="http', '<link rel="stylesheet" href="http', '<img src="http', "@import"):
            assert asking not in text, page


def test_every_command_has_an_entry(site: Path) -> None:
    text = (site / "commands" / "index.html").read_text("utf-8")
    for command in ("run", "validate", "plan", "merge", "query", "plugins-show", "cache-gc"):
        assert f'id="compat-{command}"' in text


def test_every_spec_is_there_whole(site: Path) -> None:
    text = (site / "specs" / "index.html").read_text("utf-8")
    for spec in (ROOT / "specs").glob("*.yaml"):
        assert f'id="{spec.stem}"' in text


def test_a_link_that_leads_nowhere_ends_the_building(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("[lost](nowhere.md)\n", "utf-8")
    config = load_config(
        str(ROOT / "mkdocs.yml"), docs_dir=str(docs), site_dir=str(tmp_path / "site"), hooks=[], nav=None
    )
    with pytest.raises(Abort, match="strict mode"):
        build(config)
