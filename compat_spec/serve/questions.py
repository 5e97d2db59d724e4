"""The questions that people ask of results, as canned queries of Datasette, some with a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from compat_spec.serve import charts


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with its answer in SQL. Parameters (`:task`) may be left empty.

    Attributes:
        name: its address, below that of the database.
        chart: a specification for Vega-Lite of the rows of the answer, without their data.
    """

    name: str
    title: str
    description: str
    sql: str
    chart: dict[str, Any] | None = None

    def canned(self) -> dict[str, Any]:
        """As Datasette has it."""
        hints = [hint for parameter, hint in EMPTY.items() if parameter in self.sql]
        description = " ".join([self.description, *hints])
        return {"title": self.title, "description": description, "sql": self.sql, "hide_sql": True}


OF_EXPERIMENT = """{alias}experiment = coalesce(nullif(:experiment, ''),
    (SELECT experiment FROM latest_runs WHERE run_id IS NOT NULL ORDER BY run_id DESC LIMIT 1))"""
OF_TASK = "(:task = '' OR {alias}task = :task)"
EMPTY = {
    ":experiment": "Leave experiment empty for the newest, and task for all of them.",
    ":run": "Leave run empty for the newest.",
}
"""What a parameter that is not given stands for."""


def questions(parameters: Sequence[str]) -> list[Question]:
    """All of them, in the order of the home page.

    Args:
        parameters: the columns of swept parameters. Those with quotes or colons in their names are left out: Datasette
            does not find its own parameters (`:task`) beside them.
    """
    parameters = [name for name in parameters if not set(name) & set("'\"`:")]
    return [_best_merges(parameters), *_sweeps(parameters), *FIXED, _router_load(parameters), *OF_RUNS]


def _best_merges(parameters: Sequence[str]) -> Question:
    swept = "".join(f", {quoted(name)}" for name in parameters)
    return Question(
        name="best_merges",
        title="Which merge is best?",
        description="Each model and merge at its best point, by mean loss over seeds, with its 95 % confidence "
        "interval (Student's t; none for one seed).",
        sql=f"""SELECT task, split, merge, role, round(loss, 4) AS loss, round(loss - t * loss_se, 4) AS low,
    round(loss + t * loss_se, 4) AS high, round(accuracy, 4) AS accuracy, seeds, step{swept}, run
FROM (SELECT *, {_student()} AS t, row_number() OVER (PARTITION BY run, task, split, merge ORDER BY rank) AS place
      FROM leaderboard)
WHERE place = 1 AND loss IS NOT NULL
  AND {_where("")}
ORDER BY task, split, loss""",
        chart=charts.INTERVALS,
    )


def _sweeps(parameters: Sequence[str]) -> Iterator[Question]:
    for name in parameters:
        column = quoted(name)
        yield Question(
            name=f"over_{name}",
            title=f"Loss over {name}",
            description=f"The mean loss over seeds for each value of {name} and training step, at the best values of "
            f"what else was swept.",
            sql=f"""SELECT task, split, merge, step, {column}, round(min(loss), 4) AS loss, round(loss_se, 4) AS se,
    seeds, run
FROM leaderboard
WHERE {column} IS NOT NULL AND loss IS NOT NULL
  AND {_where("")}
GROUP BY run, task, split, merge, step, {column}
ORDER BY task, split, merge, step, {column}""",
            chart=charts.over(name),
        )


def _router_load(parameters: Sequence[str]) -> Question:
    """For each point of a sweep by itself: routers at other points may have other experts."""
    settings = [(name, quoted(name)) for name in parameters] + [("step", "step")]
    at = " || ".join(f"coalesce(', {name} ' || {column}, '')" for name, column in settings)
    return Question(
        name="router_load",
        title="Which experts do routers choose?",
        description="The mean probability that the router of each block gives each expert, as a mean over seeds.",
        sql=f"""SELECT task, merge, ltrim({at}, ', ') AS at, block, expert, round(avg(value), 4) AS load,
    count(DISTINCT seed) AS seeds, run
FROM routing
WHERE quantity = 'load' AND {_where("")}
GROUP BY run, task, merge, at, block, expert ORDER BY task, merge, at, block, expert""",
        chart=charts.heat_map(
            "expert",
            "block",
            "load",
            panel="datum.merge + (datum.at ? ' (' + datum.at + ')' : '') + ' on ' + datum.task",
        ),
    )


def _where(alias: str) -> str:
    return f"{OF_EXPERIMENT.format(alias=alias)}\n  AND {OF_TASK.format(alias=alias)}"


def _student() -> str:
    """The 97.5 % quantile of Student's t with seeds - 1 degrees of freedom, in plain SQL; NULL for one seed.

    Of more than 21 seeds it is that of 21: a little wide rather than too narrow.
    """
    from scipy.special import stdtrit

    cases = " ".join(f"WHEN {seeds} THEN {stdtrit(seeds - 1, 0.975):.3f}" for seeds in range(2, 21))
    return f"CASE seeds WHEN 1 THEN NULL {cases} ELSE {stdtrit(20, 0.975):.3f} END"


def quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


STEPS = """(datum.step_a === null && datum.step_b === null ? ''
    : datum.step_a === datum.step_b ? 'step ' + datum.step_a + ': '
    : 'steps ' + datum.step_a + ' and ' + datum.step_b + ': ')"""
PAIR = f"{STEPS} + datum.models + ' on ' + datum.task"
"""What the maps differ in comes first: long titles are cut."""

MODELS = "CASE WHEN metric = 'cka' THEN '' ELSE metric || ': ' END || a || ' and ' || b"
"""What was compared; by which metric, where it has a name of its own: there may be several that give CKA."""

FIXED = (
    Question(
        name="over_steps",
        title="When do experts merge best?",
        description="The best loss of each merge at each training step of its experts, as a mean over seeds, where it "
        "has several steps. The lowest point of a curve is its critical step.",
        sql=f"""SELECT task, split, metric, merge, step, round(avg(best), 4) AS loss, count(*) AS seeds, run
FROM (SELECT *, min(value) AS best FROM loss WHERE role = 'merge' GROUP BY run, task, split, metric, merge, seed, step)
WHERE (run, task, merge) IN (SELECT run, task, merge FROM critical_steps) AND {_where("")}
GROUP BY run, task, split, metric, merge, step
ORDER BY task, split, metric, merge, step""",
        chart=charts.over("step", colour="merge", title="training step"),
    ),
    Question(
        name="critical_steps",
        title="At which step does merging turn?",
        description="The training step at which each merge has its lowest loss, and by how much it is worse at the "
        "last step, as means over seeds.",
        sql=f"""SELECT task, merge, round(avg(critical_step), 1) AS critical_step, min(critical_step) AS earliest,
    max(critical_step) AS latest, round(avg(best_loss), 4) AS best_loss, max(last_step) AS last_step,
    round(avg(last_loss), 4) AS last_loss, round(avg(regression), 4) AS regression, count(*) AS seeds, run
FROM critical_steps
WHERE role = 'merge' AND {_where("")}
GROUP BY run, task, merge ORDER BY task, best_loss""",
    ),
    Question(
        name="cka_by_layers",
        title="How alike are the layers of the experts?",
        description="CKA of each layer of one model with each of the other, as a mean over seeds.",
        sql=f"""SELECT task, {MODELS} AS models, step_a, step_b, layer_a, layer_b, round(avg(value), 4) AS cka,
    count(DISTINCT seed) AS seeds, run
FROM cka
WHERE {_where("")}
GROUP BY run, task, metric, a, b, step_a, step_b, layer_a, layer_b
ORDER BY task, models, step_a, step_b, layer_a, layer_b""",
        chart=charts.heat_map("layer_b", "layer_a", "cka", panel=PAIR, order="step_a"),
    ),
    Question(
        name="cka_over_steps",
        title="How do the experts drift apart?",
        description="CKA of layers of the same depth over the training steps of the experts, as a mean over seeds and "
        "layers.",
        sql=f"""SELECT task, {MODELS} AS models, step, round(avg(value), 4) AS cka, min(value) AS least,
    max(value) AS most, count(DISTINCT seed) AS seeds, run
FROM cka
WHERE layer_a = layer_b AND step IS NOT NULL AND {_where("")}
GROUP BY run, task, metric, a, b, step ORDER BY task, models, step""",
        chart=charts.over("step", "cka", colour="models", title="training step"),
    ),
    Question(
        name="loss_against_cka",
        title="Do experts that are more alike merge better?",
        description="For each merge, training step and seed: the mean CKA of layers of the same depth of its experts, "
        "and the best loss of the merge.",
        sql=f"""WITH alike AS (
    SELECT experiment, run, task, a, b, {MODELS} AS models, step, seed, avg(value) AS cka FROM cka
    WHERE layer_a = layer_b AND step IS NOT NULL GROUP BY run, task, metric, a, b, step, seed),
best AS (
    SELECT run, task, split, metric, merge, step, seed, min(value) AS loss FROM loss
    WHERE role = 'merge' AND step IS NOT NULL GROUP BY run, task, split, metric, merge, step, seed)
SELECT c.task, l.split, l.metric, l.merge, c.models, c.step, c.seed, round(c.cka, 4) AS cka,
    round(l.loss, 4) AS loss, c.run
FROM alike c JOIN best l USING (run, task, step, seed)
    JOIN runs r ON r.id = c.run JOIN models m ON m.run_id = r.run_id AND m.name = l.merge
WHERE EXISTS (SELECT 1 FROM json_each(m.experts) e WHERE e.value = c.a OR e.value LIKE c.a || '@%')
  AND EXISTS (SELECT 1 FROM json_each(m.experts) e WHERE e.value = c.b OR e.value LIKE c.b || '@%')
  AND {_where("c.")}
ORDER BY c.task, l.merge, c.step, c.seed""",
        chart=charts.POINTS,
    ),
)

OF_RUNS = (
    Question(
        name="time_per_step",
        title="Where did the time go?",
        description="The steps of a run, those that took longest first.",
        sql="""SELECT s.kind, s.label, s.status, round(s.seconds, 2) AS seconds, round(s.cpu_seconds, 2) AS cpu_seconds,
    round(s.peak_bytes / 1e9, 2) AS peak_gb, s.host, s.device, r.id AS run
FROM steps s JOIN runs r USING (run_id)
WHERE r.id = coalesce(nullif(:run, ''), (SELECT id FROM runs ORDER BY run_id DESC LIMIT 1))
  AND s.seconds IS NOT NULL
ORDER BY s.seconds DESC LIMIT 200""",
        chart=charts.BARS,
    ),
    Question(
        name="failures",
        title="What failed, and why?",
        description="The steps that failed in any run, and the runs that ended with an error, the newest first.",
        sql="""SELECT run, experiment, what, error FROM (
    SELECT r.run_id, r.id AS run, r.experiment, s.label AS what, s.error
    FROM steps s JOIN runs r USING (run_id) WHERE s.status = 'failed'
    UNION ALL SELECT run_id, id, experiment, 'the run', error FROM runs WHERE error IS NOT NULL)
ORDER BY run_id DESC, what""",
    ),
    Question(
        name="all_runs",
        title="What was run?",
        description="Every run, with how many of its steps were computed, were in the store, and failed.",
        sql="""SELECT r.id AS run, r.experiment, r.status, r.started, r.finished, r.device, r.git_commit,
    sum(s.status = 'computed') AS computed, sum(s.status = 'reused') AS reused, sum(s.status = 'failed') AS failed,
    round(sum(s.seconds), 1) AS seconds, r.command
FROM runs r LEFT JOIN steps s USING (run_id) GROUP BY r.run_id ORDER BY r.run_id DESC""",
    ),
)
