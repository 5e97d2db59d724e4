"""Writes findings.md and its pictures from a database of results: python docs/findings.py results.db.

The database must hold a run each of specs/critical_step.yaml, specs/routing.yaml and specs/layers.yaml over the same
seeds; `make findings` makes it. Every number on the page comes from it, those in sentences too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt

from compat_spec.results import Results, open_results

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
SEED_VALUES = Mapping[int, float]
"""A number for each seed."""


# ------------------------------------------------------------------------------------------------------------ numbers


class Numbers:
    """What the page asks of the results."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def rows(self, sql: str, *params: Any) -> list[dict[str, Any]]:
        table = self._results.query(sql, params)
        return [dict(zip(table.columns, row, strict=True)) for row in table.rows]

    def by_seed(self, sql: str, *params: Any) -> dict[Any, SEED_VALUES]:
        """Of a query with the columns key, seed, value: the values of each key."""
        found: dict[Any, dict[int, float]] = {}
        for row in self.rows(sql, *params):
            found.setdefault(row["key"], {})[row["seed"]] = row["value"]
        return found

    def losses(self, experiment: str, merge: str, task: str, metric: str) -> dict[int, SEED_VALUES]:
        """The best loss of a model or merge at each step, over whatever else is swept."""
        return self.by_seed(
            "SELECT step AS key, seed, min(value) AS value FROM loss "
            "WHERE experiment = ? AND merge = ? AND task = ? AND metric = ? GROUP BY 1, 2 ORDER BY 1",
            experiment,
            merge,
            task,
            metric,
        )


def mean(values: SEED_VALUES) -> float:
    return sum(values.values()) / len(values)


def error(values: SEED_VALUES) -> float:
    """The standard error of the mean over seeds."""
    if len(values) < 2:
        return math.nan
    centre = mean(values)
    return math.sqrt(sum((value - centre) ** 2 for value in values.values()) / (len(values) - 1) / len(values))


def shown(values: SEED_VALUES) -> str:
    return f"{mean(values):.3f} ± {error(values):.3f}"


def less(a: SEED_VALUES, b: SEED_VALUES) -> str:
    """By how much `a` is below `b`, seed by seed: `0.241 ± 0.012 lower (3 of 3 seeds)`."""
    difference = {seed: b[seed] - a[seed] for seed in a}
    agreeing = sum(value > 0 for value in difference.values())
    if mean(difference) < 0:
        difference = {seed: -value for seed, value in difference.items()}
        return f"{shown(difference)} higher ({len(a) - agreeing} of {len(a)} seeds)"
    return f"{shown(difference)} lower ({agreeing} of {len(a)} seeds)"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# ----------------------------------------------------------------------------------------------------------- pictures

PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
"""Okabe and Ito's colours, which people with any colour vision tell apart."""


def save(chart: Any, name: str) -> None:
    chart = chart.configure(background="white", font="sans-serif").configure_view(stroke=None)
    chart = chart.configure_axis(gridColor="#e6e6e6", titleFontWeight="normal").configure_title(fontWeight="normal")
    chart.configure_range(category=PALETTE).save(PICTURES / f"{name}.svg")


def curves(values: Mapping[str, Mapping[int, SEED_VALUES]], title: str) -> Any:
    """Means over seeds with their standard errors, against the step of fine-tuning, which is spaced by its root."""
    data = [
        {"what": what, "step": step, "value": mean(v), "low": mean(v) - error(v), "high": mean(v) + error(v)}
        for what, of in values.items()
        for step, v in of.items()
    ]
    steps = sorted({row["step"] for row in data})
    x = alt.X("step:Q", title="steps of fine-tuning", scale=alt.Scale(type="sqrt"), axis=alt.Axis(values=steps))
    colour = alt.Color("what:N", title=None, sort=list(values), legend=alt.Legend(symbolOpacity=1))
    base = alt.Chart(alt.Data(values=data), width=300, height=220, title=title).encode(x=x, color=colour)
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False))
    band = base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", title=None, scale=alt.Scale(zero=False)), y2="high:Q")
    return band + base.mark_line(point=True).encode(y=y)


# --------------------------------------------------------------------------------------------------------- the page


def specialisation(numbers: Numbers) -> str:
    own = {f"{m} expert on {m}": numbers.losses("critical_step", m, m, "experts") for m in ("math", "code")}
    target = {f"{m} expert": numbers.losses("critical_step", m, "program", "experts") for m in ("math", "code")}
    blocks = numbers.by_seed(
        "SELECT step || ' ' || layer_a AS key, seed, value FROM cka "
        "WHERE experiment = 'critical_step' AND task = 'program' AND layer_a = layer_b"
    )
    cka: dict[str, dict[int, SEED_VALUES]] = {}
    for key, values in blocks.items():
        step, block = map(int, key.split())
        cka.setdefault(f"block {block + 1}", {})[step] = values
    depth = len(cka)
    save(
        (
            curves(own, "loss on the expert's own domain") | curves(cka, "CKA of the two experts on the target")
        ).resolve_scale(color="independent"),
        "specialisation",
    )
    whole = numbers.by_seed(
        "SELECT step AS key, seed, avg(value) AS value FROM cka "
        "WHERE experiment = 'critical_step' AND task = 'program' AND layer_a = layer_b GROUP BY 1, 2 ORDER BY 1"
    )
    rows = [
        [str(step), *(shown(of[step]) for of in (*own.values(), *target.values())), shown(whole[step])]
        for step in whole
    ]
    last = max(whole)
    deeper = sum(
        all(cka[f"block {i + 1}"][last][s] < cka[f"block {i}"][last][s] for i in range(1, depth)) for s in whole[last]
    )
    return f"""## 1. As experts specialise, their features part

Two experts of one base, whose MLPs are fine-tuned on math word problems and on Python functions. CKA is linear, biased,
over 2,048 tokens of the target; the last column is its mean over the {depth} blocks.

![Loss on the own domain, and CKA, against steps](pictures/specialisation.svg)

{table(["step", *own, "math expert on the target", "code expert on the target", "CKA"], rows)}

From the start to step {last} the loss on the own domain falls by {falls(own, last)}.
The CKA falls as well, from {mean(whole[min(whole)]):.3f} to {mean(whole[last]):.3f}; at step {last} it falls from each
block to the next in {deeper} of {len(whole[last])} seeds.
"""


def falls(own: Mapping[str, Mapping[int, SEED_VALUES]], last: int) -> str:
    changes = []
    for what, of in own.items():
        first = of[min(of)]
        changes.append(f"{shown({seed: first[seed] - of[last][seed] for seed in first})} ({what})")
    return " and ".join(changes)


def interpolation(numbers: Numbers) -> str:
    data = numbers.rows(
        "SELECT step, alpha, avg(value) AS value FROM loss WHERE experiment = 'critical_step' "
        "AND merge = 'interpolation' GROUP BY 1, 2 ORDER BY 1, 2"
    )
    steps = sorted({row["step"] for row in data})
    chart = alt.Chart(alt.Data(values=data), width=420, height=260, title="cross-entropy on the target")
    save(
        chart.mark_line(point=True).encode(
            x=alt.X("alpha:Q", title="alpha: the share of the math expert"),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            color=alt.Color("step:O", title="step", scale=alt.Scale(scheme="viridis")),
        ),
        "alpha",
    )
    curves_ = numbers.rows(
        "SELECT step, seed, alpha, value FROM loss WHERE experiment = 'critical_step' AND merge = 'interpolation' "
        "AND step > 0 ORDER BY step, seed, alpha"
    )
    by_curve: dict[tuple[int, int], list[float]] = {}
    for row in curves_:
        by_curve.setdefault((row["step"], row["seed"]), []).append(row["value"])
    inner = sum(min(curve) < min(curve[0], curve[-1]) for curve in by_curve.values())
    convex = sum(
        all(a + c - 2 * b > -0.005 for a, b, c in zip(curve, curve[1:], curve[2:], strict=False))
        for curve in by_curve.values()
    )
    shares = [str(share) for share in (0, 0.2, 0.4, 0.5, 0.6, 0.8, 1)]
    means = {(row["step"], float(row["alpha"])): row["value"] for row in data}
    rows = [[str(step), *(f"{means[step, float(share)]:.3f}" for share in shares)] for step in steps]
    return f"""## 2. Between two experts there is something better than either

In every block the output of the MLP is `alpha * math(x) + (1 - alpha) * code(x)`.

![Loss against alpha, for each step](pictures/alpha.svg)

{table(["step", *(f"alpha {share}" for share in shares)], rows)}

Of {len(by_curve)} curves (steps after 0, seeds), {inner} have their lowest point inside, and {convex} are convex (no
second difference below -0.005).
"""


def critical_step(numbers: Numbers) -> str:
    ways = {
        "interpolation, best alpha": numbers.losses("critical_step", "interpolation", "program", "loss"),
        "average of weights": numbers.losses("critical_step", "average", "program", "loss"),
        "average of predictions": numbers.losses("critical_step", "ensemble", "program", "loss"),
    }
    save(curves(ways, "cross-entropy on the target").properties(width=420, height=260), "critical_step")
    turns = numbers.rows(
        "SELECT merge, seed, critical_step, regression FROM critical_steps "
        "WHERE experiment = 'critical_step' AND role = 'merge' AND task = 'program' ORDER BY merge, seed"
    )
    names = {"interpolation": "interpolation", "average": "average of weights", "ensemble": "average of predictions"}
    lines = []
    for merge, name in names.items():
        own = [row for row in turns if row["merge"] == merge]
        steps = ", ".join(str(row["critical_step"]) for row in own)
        regression = {row["seed"]: row["regression"] for row in own}
        lines.append(f"- {name}: lowest at step {steps} (by seed), and {shown(regression)} worse at the end.")
    steps = sorted(ways["average of weights"])
    rows = [[str(step), *(shown(of[step]) for of in ways.values())] for step in steps]
    last = steps[-1]
    weights, predictions = ways["average of weights"][last], ways["average of predictions"][last]
    return f"""## 3. The critical step: merging first gains, then loses

![Best loss of three averages against steps](pictures/critical_step.svg)

{table(["step", *ways], rows)}

{chr(10).join(lines)}

At step {last}, the average of predictions is {less(predictions, weights)} than the average of weights.
"""


def combining(numbers: Numbers) -> str:
    (end,) = numbers.rows("SELECT max(step) AS step FROM loss WHERE experiment = 'routing' AND role = 'expert'")
    ways = numbers.by_seed(
        "SELECT merge || coalesce(' ' || span, '') AS key, seed, min(value) AS value FROM loss WHERE "
        "experiment = 'routing' AND task = 'program' AND metric = 'loss' AND (step = ? OR role != 'merge') "
        "GROUP BY 1, 2",
        end["step"],
    )
    accuracies = numbers.by_seed(
        "SELECT merge || coalesce(' ' || span, '') AS key, seed, max(value) AS value FROM accuracy WHERE "
        "experiment = 'routing' AND task = 'program' AND (step = ? OR role != 'merge') GROUP BY 1, 2",
        end["step"],
    )
    words = {
        "base": "the base",
        "math": "the math expert",
        "code": "the code expert",
        "average": "average of weights",
        "slerp": "slerp of weights",
        "interpolation": "interpolation, best alpha",
        "ensemble": "average of predictions",
        "shared_router": "one shared router",
        "router": "a router per block",
        "router_with_base": "a router per block, with the base",
        "router_span 2": "routers over 2 blocks (span 2)",
        "router_span 3": "routers over 3 blocks (span 3)",
        "router_span 4": "routers over 4 blocks (span 4)",
        "direct": "fine-tuning the base on the target",
    }
    order = sorted(ways, key=lambda way: mean(ways[way]))
    rows = [[words[way], shown(ways[way]), shown(accuracies[way])] for way in order]
    bars = [
        {
            "way": words[way],
            "value": mean(ways[way]),
            "low": mean(ways[way]) - error(ways[way]),
            "high": mean(ways[way]) + error(ways[way]),
            "kind": kind_of(way),
        }
        for way in order
    ]
    base = alt.Chart(alt.Data(values=bars), width=420, height=alt.Step(20), title="cross-entropy on the target")
    y = alt.Y("way:N", title=None, sort=[words[way] for way in order], axis=alt.Axis(labelLimit=260))
    points = base.mark_point(filled=True, size=70).encode(
        x=alt.X("value:Q", title=None, scale=alt.Scale(zero=False)), y=y, color=alt.Color("kind:N", title=None)
    )
    save(
        base.mark_rule().encode(x="low:Q", x2="high:Q", y=y, color=alt.Color("kind:N", title=None)) + points,
        "combining",
    )
    router = ways["router"]
    return f"""## 4. Routers, trained on the target, beat every average

Experts of step {end["step"]}. The routers, and nothing else, are trained on 160 batches of 4 sequences of the target;
fine-tuning the base on it (its MLPs, 160 batches of 8) is the bound.

![Loss of each way of combining](pictures/combining.svg)

{table(["", "cross-entropy", "token accuracy"], rows)}

- A router per block is {less(router, ways["interpolation"])} than interpolation at its best alpha,
- and {less(router, ways["shared_router"])} than one shared router;
- with the base as a third expert it is {less(ways["router_with_base"], router)} than without;
- over two blocks it is {less(ways["router_span 2"], router)} than over one, over three
  {less(ways["router_span 3"], ways["router_span 2"])} than over two, over four
  {less(ways["router_span 4"], ways["router_span 3"])} than over three.
- Fine-tuning the base is {less(ways["direct"], ways["router_span 4"])} than routing over four blocks.
"""


def kind_of(way: str) -> str:
    if way in ("base", "math", "code", "direct"):
        return "one network"
    return "trained routers" if "router" in way else "averages"


def layers(numbers: Numbers) -> str:
    span = numbers.by_seed(
        "SELECT span AS key, seed, value FROM loss WHERE experiment = 'layers' AND merge = 'span' ORDER BY 1"
    )
    copies = numbers.by_seed(
        "SELECT json_array_length(models) / 2 AS key, seed, value FROM loss "
        "WHERE experiment = 'layers' AND merge = 'copies' ORDER BY 1"
    )
    rows = [
        [str(n), str(2 * n), shown(span[n]), shown(copies[n]) if n in copies else shown(span[1])] for n in sorted(span)
    ]
    maps = numbers.rows(
        "SELECT step, layer_a + 1 AS a, layer_b + 1 AS b, avg(value) AS value FROM cka "
        "WHERE experiment = 'layers' AND metric = 'cka' GROUP BY 1, 2, 3"
    )
    steps = sorted({row["step"] for row in maps})
    chart = (
        alt.Chart(alt.Data(values=maps), width=115, height=115)
        .mark_rect()
        .encode(
            x=alt.X("b:O", title="block of the code expert", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("a:O", title="block of the math expert"),
            color=alt.Color("value:Q", title="CKA", scale=alt.Scale(scheme="viridis", domain=[0, 1])),
        )
    )
    save(
        chart.facet(
            facet=alt.Facet("step:O", title="CKA of every block of one expert with every block of the other, by step"),
            columns=3,
        ),
        "layers",
    )
    distance = numbers.rows(
        "SELECT step, abs(layer_a - layer_b) AS distance, avg(value) AS value FROM cka "
        "WHERE experiment = 'layers' AND metric = 'cka' GROUP BY 1, 2 ORDER BY 1, 2"
    )
    by_step = {step: [row["value"] for row in distance if row["step"] == step] for step in steps}
    far = max(len(values) for values in by_step.values())
    decays = [[str(step), *(f"{value:.3f}" for value in by_step[step])] for step in steps]
    return f"""## 5. Routing between layers, and what copies would give

A network of eight narrower blocks. With span n, block i's router may also choose the MLPs of blocks i + 1 … i + n - 1
of both experts. The control gives it as many experts without any from other blocks: n copies of its own two.

{table(["n", "experts per block", "span n", "n copies"], rows)}

- Two blocks are {less(span[2], span[1])} than one, three {less(span[3], span[2])} than two, four
  {less(span[4], span[3])} than three.
- Two copies are {less(copies[2], span[1])} than one, four {less(copies[4], span[1])}.
- Of as many experts, those of four blocks are {less(span[4], copies[4])} than four copies: that much of the gain is due
  to the other layers, and not to more experts.

![CKA of all pairs of blocks, by step](pictures/layers.svg)

The mean CKA of blocks that are so far apart:

{table(["step", *(str(d) for d in range(far))], decays)}
"""


DOUBTS = """
- Where the averages turn (section 3) differs from seed to seed, as their losses hardly change over a long stretch of
  steps. It depends on the learning rate, too. Three were tried for the experts, 1.5e-3, 3e-3 and 6e-3. With the last,
  over three seeds and 320 steps, interpolation turned at steps 20, 40 and 80 and then lost 0.066 ± 0.032, but the first
  steps of fine-tuning made the code expert worse at code; with the first (one seed), the average of weights turned at
  80. The one in between was taken because with it the experts improve on their own domains almost from the start.
- Not all alpha curves are convex: late in the fine-tuning they flatten towards the ends, where the loss of the worse
  expert is far from that of any blend.
- The best alpha, and the best step, are chosen on the split that they are scored on, as in the paper. With eleven
  alphas and 8,192 tokens that flatters interpolation a little.
- The paper finds that the CKA of two layers falls off with their distance. So it does here, at all steps (section 5);
  but as the experts specialise, most of the fall is with depth.
- The control of section 5 says that a good part of what a larger span gains is due to more experts per block, that is,
  to routers with more outputs: copies of the block's own experts give it as well. The paper has no such control. Why
  copies help at all is not measured: perhaps because routers that are trained for a few steps move away from equal
  shares sooner when there are more of them. With longer training the difference may shrink.
- Fine-tuning the base on the target is far better than any routing. The form of the target is new to both experts and
  easy to learn, as it is made from templates; routers can only choose among what the experts know.
- No network here solves the problems: `answer_accuracy` is zero even for the fine-tuned base, which writes programs of
  the right form with wrong numbers. The losses say how well the text is predicted.
- General text is the documentation, and code the source, of the Python that runs the experiment. Another version of
  Python gives somewhat different numbers.
"""

PAGE = """# Findings at the scale of a laptop

What the experiments of this repository show, as means ± standard errors over {seeds} seeds. This page is made from the
database that they write: `make findings` runs `specs/critical_step.yaml`, `specs/routing.yaml` and `specs/layers.yaml`
(about {minutes} minutes of computing on {device}) and then `python docs/findings.py results.db`, which writes the page.
The paper is Pari, Jelassi and Agrawal, "Collective Model Intelligence Requires Compatible Specialization", 2024
([arXiv:2411.02207](https://arxiv.org/abs/2411.02207)), which used GPT-2 and GSM-hard; here the network has 0.9 million
parameters, and the target is word problems that are answered by Python programs. Losses are in nats per token.

{parts}
## What differs from the paper, and what to doubt

{doubts}
"""


def main(database: str) -> None:
    numbers = Numbers(open_results(database, create=False))
    runs = numbers.rows(
        "SELECT r.device, (SELECT count(DISTINCT seed) FROM scores s WHERE s.run_id = r.run_id) AS seeds FROM runs r "
        "JOIN latest_runs USING (run_id) WHERE r.experiment IN ('critical_step', 'routing', 'layers')"
    )
    if len(runs) < 3:
        sys.exit(f"{database} needs a run of each of critical_step, routing and layers; make findings makes them")
    minutes = numbers.rows(
        "SELECT sum(seconds) / 60 AS minutes FROM steps JOIN latest_runs USING (run_id) "
        "WHERE status = 'computed' AND experiment IN ('critical_step', 'routing', 'layers')"
    )[0]["minutes"]
    PICTURES.mkdir(exist_ok=True)
    page = PAGE.format(
        seeds=min(run["seeds"] for run in runs),
        minutes=round(minutes),
        device=runs[0]["device"],
        parts="\n".join(part(numbers) for part in (specialisation, interpolation, critical_step, combining, layers)),
        doubts=DOUBTS.strip(),
    )
    (HERE / "findings.md").write_text(page, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "results.db")
