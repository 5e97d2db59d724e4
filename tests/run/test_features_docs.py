"""docs/features.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from compat_plugins.metrics.stitching import Stitching
from compat_spec.components import Example, PairMetric
from compat_spec.nn.data import encode
from tests.builders import byte_tokenizer, tiny_network
from tests.run.experiments import Workplace

PAGE = Path(__file__).parents[2].joinpath("docs", "features.md").read_text("utf-8")
(METRICS,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
(SQL,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_its_metrics_run_and_its_query_finds_them(done: Workplace) -> None:
    overrides = []
    for name, metric in re.findall(r"^  (\w+): +{(.*)}$", METRICS, re.MULTILINE):
        quick = "tokens: 64" + (", fit_tokens: 64, steps: 1" if "stitching" in metric else "")
        metric = metric.replace("math", "one").replace("code", "two")
        overrides.append(f"metrics.{name}={{{metric}, {quick}}}")
    assert len(overrides) == 4
    summary = done.run(*overrides)
    assert summary.exit_status == 0, summary.failed
    assert [row[:2] for row in done.rows(SQL)] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_every_parameter_of_features_is_explained() -> None:
    for name in PairMetric.parameters():
        assert f"`{name}" in PAGE, name


def test_the_parameters_of_stitching_that_it_names_are_there() -> None:
    told = set(re.findall(r"`(\w+)`", PAGE.partition("## Stitching")[2].partition("```")[0]))
    assert {"steps", "fit_tokens", "tokens", "context"} <= told & set(Stitching.parameters())


def test_its_code_runs(capsys) -> None:
    examples = [Example(f"{i} and ", f"{i * i}") for i in range(40)]
    split = encode(examples, byte_tokenizer(), "answer")
    exec(CODE, {"a": tiny_network(), "b": tiny_network(seed=1, blocks=2), "train": split, "test": split})
    printed = capsys.readouterr().out
    assert "torch.Size([40, 16])" in printed
    assert "float64" in printed
