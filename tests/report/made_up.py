"""A made-up run that has something of everything, with names that no page should trust."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from compat_spec.results import ModelRow, Results, RunWriter, SimilarityRow, StepRow, TaskRow
from tests.results.made_up import score, similarity, start

NASTY = "</script><script>window.attacked = true</script>"
TASK = 'pro"gram & <b>'
SEEDS = (0, 1, 2)
STEPS = (10, 20, 40, 80)
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
ODD = "a.b[0]'\\\""
"""A swept parameter that is no name of a field in Vega's expressions."""

MODELS = (
    ModelRow(name="base", role="base", use="causal_lm"),
    ModelRow(name="math", role="expert", parent="base"),
    ModelRow(name="code", role="expert", parent="base"),
    ModelRow(name="direct", role="fine-tuned", parent="base"),
    ModelRow(name="blend", role="merge", use="activation_interpolation", experts=("math@10", "code@10")),
    ModelRow(name="grid", role="merge", use="ties", experts=("math", "code")),
    ModelRow(name="words", role="merge", use="linear", experts=("math", "code")),
    ModelRow(name="router", role="merge", use="routing", experts=("math", "code")),
    ModelRow(name="diverged", role="merge", use="linear", experts=("math", "code")),
    ModelRow(name=NASTY, role="merge", use="linear", experts=("math", "code")),
)
SPEC = f"""version: 1
name: everything
description: 'All of it <img src="https://example.com/x.png">'
# {NASTY}
"""


def loss(seed: int, step: int, alpha: float) -> float:
    """Lowest at alpha 0.5 and, but for seed 2, at step 40; of seed 2 at step 20."""
    turn = 20 if seed == 2 else 40
    return 3 + seed / 16 + (alpha - 0.5) ** 2 + abs(math.log2(step / turn)) / 8


def everything(results: Results, status: str = "finished") -> str:
    """The id of a run with scores, sweeps of all kinds, similarities, routers, failures and times."""
    writer = start(
        results,
        "everything",
        parameters=["alpha", "density", "lambda", "update", ODD],
        models=MODELS,
        tasks=[TaskRow(name=TASK, use="program_problems", examples={"train": 20, "test": 5})],
        spec_text=SPEC,
        command=f"compat run {NASTY}",
    )
    _scores(writer)
    _similarities(writer)
    _routing(writer)
    _steps(writer)
    if status != "running":
        writer.finish(status)  # type: ignore[arg-type]
    return writer.id


def _scores(writer: RunWriter) -> None:
    about = {"task": TASK}
    rows = []
    for seed in SEEDS:
        for model, value in (("base", 4.0), ("math", 4.5), ("code", 4.75), ("direct", 1.5)):
            rows += [
                score(model, value + seed / 8, seed=seed, **about),
                score(model, 1 / value, seed=seed, quantity="accuracy", **about),
            ]
        for step in STEPS:
            for alpha in ALPHAS:
                at = {"seed": seed, "step": step, "alpha": alpha, "task": TASK}
                rows += [
                    score("blend", loss(seed, step, alpha), **at),
                    score("blend", 0.2, quantity="accuracy", **at),
                ]
            rows.append(score(NASTY, 3.5 + step / 100, seed=seed, step=step, parameters={ODD: step}, **about))
        for density in (0.1, 0.2, 0.4, 0.8):
            for scale in (0.5, 1, 1.5, 2):
                value = 3.25 + density + (scale - 1) ** 2 + seed / 8
                rows.append(score("grid", value, seed=seed, parameters={"density": density, "lambda": scale}, **about))
        rows += [score("words", 3.75, seed=seed, update=update, **about) for update in ("mlp", "all", "<i>none</i>")]
        rows.append(score("router", 2.5 + seed / 8, seed=seed, step=80, **about))
        rows.append(score("diverged", math.nan if seed else 3.0, seed=seed, **about))
    writer.scores(rows)


def _similarities(writer: RunWriter) -> None:
    rows: list[SimilarityRow] = []
    for seed in SEEDS:
        for step in STEPS:
            for quantity in ("cka", "mutual_knn"):
                for a in range(3):
                    for b in range(3):
                        value = math.exp(-step / 100 - abs(a - b) / 4) - seed / 32
                        one = similarity(a, b, value, steps=(step, step), seed=seed)
                        changes = {"metric": quantity, "measure": quantity, "quantity": quantity, "task": TASK}
                        fields = {name: getattr(one, name) for name in SimilarityRow.__dataclass_fields__}
                        rows.append(SimilarityRow(**(fields | changes)))
    writer.similarities(rows)


def _routing(writer: RunWriter) -> None:
    about = {"task": TASK, "step": 80}
    rows = []
    for block in range(3):
        for expert in range(2):
            load = 0.25 + block / 4
            share = load if expert == 0 else 1 - load
            rows.append(score("router", share, quantity="load", block=block, expert=expert, **about))
            rows += [
                score("router", share, quantity="class_load", block=block, expert=expert, token_class=kind, **about)
                for kind in ("prompt", "answer")
            ]
        rows.append(score("router", block / 4, quantity="entropy", block=block, **about))
        rows += [
            score("router", 0.5, quantity="agreement", block=block, other_block=other, **about)
            for other in range(block + 1, 3)
        ]
    writer.scores(rows)


def _steps(writer: RunWriter) -> None:
    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    for i in range(6):
        writer.step(
            StepRow(
                fingerprint=f"{i:064x}",
                kind="train" if i < 3 else "merge",
                label=f"step {i}",
                status="computed",
                seconds=10.0 + i,
                host="here",
                device="cpu",
                started=began + timedelta(seconds=6 * i),
            )
        )
    undefined = {"undefined": ["cka is NaN for layer 0 of xs: their features do not vary"]}
    for number, how in enumerate(
        (
            {"status": "reused", "facts": {"seconds": 7.5}},
            {"status": "failed", "error": f"ValueError: {NASTY}"},
            {"status": "skipped", "error": "needs step 7"},
            {"status": "computed", "seconds": 1.0, "facts": undefined},
        ),
        start=6,
    ):
        writer.step(StepRow(fingerprint=f"{number:064x}", kind="compare", label=f"step {number}", **how))
