"""The page about results tells the truth: its queries run, and it names every view and table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from compat_spec.results import Results
from tests.results.made_up import on_both, record, score, similarity, start

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
TEXT = PAGE.read_text("utf-8")


@on_both
@pytest.mark.parametrize("sql", re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL))
def test_a_query_of_the_page_has_an_answer(sql: str, results: Results) -> None:
    writer = start(results, parameters=["alpha"])
    writer.scores([score("blend", 3.0 - step, seed=seed, step=step, alpha=0.5) for seed in (0, 1) for step in (1, 2)])
    writer.scores([score(name, 3.0, step=1, alpha=0.5, examples=[(0, 3.0, 1)]) for name in ("average", "blend")])
    writer.scores([score("blend", 0.5, quantity="load", block=0, expert=expert) for expert in (0, 1)])
    writer.scores([score("blend", 0.5, quantity="class_load", block=0, expert=0, token_class="digits")])
    writer.scores([score("blend", 0.5, quantity="agreement", block=0, other_block=1)])
    writer.similarities([similarity(0, 0, 1.0, steps=(1, 1))])
    writer.finish("finished")
    answer = results.query(sql)
    assert answer.rows
    assert None not in answer.rows[0]


@on_both
def test_the_first_command_of_the_page_works(results: Results) -> None:
    record(results, [score("average", 3.0)])
    match = re.search(r'compat query "(.*)"', TEXT)
    assert match is not None
    assert results.query(match[1]).rows == [("average", 3.0)]


def test_every_view_and_table_is_named(results: Results) -> None:
    inspector = inspect(create_engine(f"sqlite:///{results.name}"))
    names = {*inspector.get_view_names(), *inspector.get_table_names()} - {"compat_schema"}
    assert {name for name in names if f"`{name}`" not in TEXT} == set()
