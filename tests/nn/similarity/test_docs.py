"""docs/similarity.md says what is so."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import torch

from compat_spec.nn.similarity import MEASURES

PAGE = (Path(__file__).parents[3] / "docs" / "similarity.md").read_text("utf-8")


def test_the_code_of_the_page_runs_and_prints_what_it_says(capsys) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, {})
    printed = capsys.readouterr().out.splitlines()
    assert printed == re.findall(r"print\(.*?  # (.*)", code)


def test_every_measure_is_in_the_tables() -> None:
    for measure in MEASURES:
        assert f"`{measure}`" in PAGE.partition("## The measures")[2]
