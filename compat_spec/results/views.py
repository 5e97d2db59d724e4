"""The views that people query: names instead of keys, and one column for each swept parameter.

Which parameters are swept differs from database to database, so the views are made again when a run starts.
`all_scores` and `all_similarities` show every run. The others show, of each experiment, the newest run that finished
or, failing that, the newest that has rows: a repeated experiment is not counted twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select

from compat_spec.results import parameter_types
from compat_spec.results.postgresql import LOCK_SECONDS
from compat_spec.results.tables import RunRecord

QUANTITIES = ("loss", "accuracy", "answers", "perplexity")
"""What has a view of its own, and columns in `leaderboard`."""

# fmt: off
COLUMN_TYPES = {
    **dict.fromkeys((
        "block", "critical_step", "example", "expert", "last_step", "layer_a", "layer_b", "n", "other_block", "rank",
        "run_id", "seed", "seeds", "step", "step_a", "step_b",
    ), parameter_types.WHOLE),
    **dict.fromkeys((
        "accuracy", "accuracy_se", "answers", "answers_se", "best_loss", "last_loss", "loss", "loss_se", "perplexity",
        "perplexity_se", "regression", "se", "value", "weight",
    ), parameter_types.NUMBER),
    **dict.fromkeys((
        "a", "b", "experiment", "fingerprint", "measure", "merge", "metric", "quantity", "role", "run", "split",
        "status", "task", "token_class",
    ), parameter_types.TEXT),
}
"""The columns of views besides those of swept parameters, and what they hold."""
# fmt: on

FIXED_COLUMNS = frozenset(COLUMN_TYPES)

CURRENT = "s.run_id IN (SELECT run_id FROM latest_runs)"
"""Which rows most views show."""

LATEST_RUNS = """
SELECT experiment, coalesce(
    max(CASE WHEN status = 'finished' THEN run_id END),
    max(CASE WHEN EXISTS (SELECT 1 FROM scores s WHERE s.run_id = r.run_id)
               OR EXISTS (SELECT 1 FROM similarities s WHERE s.run_id = r.run_id) THEN run_id END)) AS run_id
FROM runs r GROUP BY experiment
"""

# Left joins, though every row has its partner: SQLite leaves out those whose columns a query does not use.
SCORES = """
SELECT r.experiment, r.id AS run, {status}m.name AS merge, m.role, t.name AS task, s.split, s.metric, {what}
    s.seed, s.training_step AS step, {parameters}s.value, s.n{fingerprint}
FROM scores s JOIN runs r ON r.run_id = s.run_id LEFT JOIN models m ON m.model_id = s.model_id
    LEFT JOIN tasks t ON t.task_id = s.task_id {steps}
"""

SIMILARITIES = """
SELECT r.experiment, r.id AS run, {status}s.metric, s.measure, {what}t.name AS task, a.name AS a, b.name AS b,
    CASE WHEN s.step_a = s.step_b THEN s.step_a END AS step, s.step_a, s.step_b, s.layer_a, s.layer_b,
    s.seed, {parameters}s.value, s.se, s.n{fingerprint}
FROM similarities s JOIN runs r ON r.run_id = s.run_id LEFT JOIN models a ON a.model_id = s.model_a_id
    LEFT JOIN models b ON b.model_id = s.model_b_id LEFT JOIN tasks t ON t.task_id = s.task_id
    {steps}
"""

EXAMPLES = """
SELECT r.experiment, r.id AS run, m.name AS merge, m.role, t.name AS task, s.split, s.metric, s.quantity,
    s.seed, s.training_step AS step, {parameters}{example}
FROM scores s JOIN runs r ON r.run_id = s.run_id LEFT JOIN models m ON m.model_id = s.model_id
    LEFT JOIN tasks t ON t.task_id = s.task_id JOIN example_scores x ON x.score_id = s.score_id, {each} e
"""
# JSON has no infinity: it is a word there, which PostgreSQL knows.
SQLITE_EXAMPLE = {
    "each": "json_each(x.examples)",
    "example": "json_extract(e.value, '$[0]') AS example, CASE json_extract(e.value, '$[1]') WHEN 'inf' THEN 9e999 "
    "WHEN '-inf' THEN -9e999 ELSE json_extract(e.value, '$[1]') END AS value, "
    "CAST(json_extract(e.value, '$[2]') AS REAL) AS weight",
}
POSTGRESQL_EXAMPLE = {
    "each": "jsonb_array_elements(x.examples)",
    "example": "(e.value -> 0)::int AS example, (e.value ->> 1)::double precision AS value, "
    "(e.value ->> 2)::double precision AS weight",
}

# A mean with a missing value (NaN) among its values is missing too: a diverged seed must not vanish from a mean.
# The square of a very large or small number is an error in PostgreSQL, instead of infinity or 0.
LEADERBOARD = """
WITH per_seed AS (
    SELECT run_id, task_id, split, model_id, training_step, parameters, quantity, seed,
        CASE WHEN count(*) = count(value) THEN {mean} END AS value
    FROM scores s WHERE {current} AND block IS NULL AND quantity IN ({quantities})
    GROUP BY run_id, task_id, split, model_id, training_step, parameters, quantity, seed),
centred AS (
    SELECT *, {value_minus_mean} AS distance
    FROM per_seed
    WINDOW point AS (PARTITION BY run_id, task_id, split, model_id, training_step, parameters, quantity)),
points AS (
    SELECT run_id, task_id, split, model_id, training_step, parameters, quantity, count(*) AS seeds,
        CASE WHEN count(*) = count(value) THEN {mean} END AS mean,
        CASE WHEN count(*) = count(value) AND count(*) > 1
            THEN sqrt(sum({distance_squared}) / (count(*) - 1) / count(*)) END AS se
    FROM centred GROUP BY run_id, task_id, split, model_id, training_step, parameters, quantity),
wide AS (
    SELECT run_id, task_id, split, model_id, training_step, parameters, max(seeds) AS seeds, {pivots}
    FROM points GROUP BY run_id, task_id, split, model_id, training_step, parameters)
SELECT r.experiment, r.id AS run, t.name AS task, s.split, m.name AS merge, m.role, s.training_step AS step,
    {parameters}{columns}, s.seeds, CASE WHEN s.loss IS NOT NULL
        THEN rank() OVER (PARTITION BY s.run_id, s.task_id, s.split ORDER BY s.loss IS NULL, s.loss) END AS rank
FROM wide s JOIN runs r ON r.run_id = s.run_id JOIN models m ON m.model_id = s.model_id
    JOIN tasks t ON t.task_id = s.task_id
"""

CRITICAL_STEPS = """
WITH best AS (
    SELECT run_id, task_id, metric, model_id, seed, training_step AS step, min(value) AS loss
    FROM scores s WHERE {current} AND block IS NULL AND quantity = 'loss' AND training_step IS NOT NULL
    GROUP BY run_id, task_id, metric, model_id, seed, training_step),
placed AS (
    SELECT *, count(*) OVER curve AS steps,
        row_number() OVER (PARTITION BY run_id, task_id, metric, model_id, seed ORDER BY loss IS NULL, loss, step)
            AS place,
        row_number() OVER (PARTITION BY run_id, task_id, metric, model_id, seed ORDER BY step DESC) AS from_the_end
    FROM best WINDOW curve AS (PARTITION BY run_id, task_id, metric, model_id, seed)),
turns AS (
    SELECT run_id, task_id, metric, model_id, seed,
        max(CASE WHEN place = 1 THEN step END) AS critical_step, max(CASE WHEN place = 1 THEN loss END) AS best_loss,
        max(CASE WHEN from_the_end = 1 THEN step END) AS last_step,
        max(CASE WHEN from_the_end = 1 THEN loss END) AS last_loss
    FROM placed WHERE steps > 1 GROUP BY run_id, task_id, metric, model_id, seed)
SELECT r.experiment, r.id AS run, t.name AS task, s.metric, m.name AS merge, m.role, s.seed,
    s.critical_step, s.best_loss, s.last_step, s.last_loss, {regression} AS regression
FROM turns s JOIN runs r ON r.run_id = s.run_id JOIN models m ON m.model_id = s.model_id
    JOIN tasks t ON t.task_id = s.task_id
"""


# SQLite makes NULL of what is not a number, and infinity of what is too large.
SQLITE_NUMBERS = {
    "mean": "avg(value)",
    "value_minus_mean": "value - avg(value) OVER point",
    "distance_squared": "distance * distance",
    "regression": "s.last_loss - s.best_loss",
}
# PostgreSQL's avg(value) squares, too.
POSTGRESQL_NUMBERS = {
    "mean": "nullif(sum(value) / nullif(count(value), 0), 'NaN')",
    "value_minus_mean": "nullif(value - sum(value) OVER point / nullif(count(value) OVER point, 0), 'NaN')",
    "distance_squared": "CASE WHEN abs(distance) > 1e150 THEN 'Infinity' WHEN abs(distance) > 1e-150 "
    "THEN distance * distance WHEN distance IS NOT NULL THEN 0 END",
    "regression": "nullif(s.last_loss - s.best_loss, 'NaN')",
}

# The rounding that SQLite has and people use: PostgreSQL knows it of exact numbers only.
ROUND = """
CREATE OR REPLACE FUNCTION round(value double precision, digits integer) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT round(value::numeric, digits)::double precision'
"""


def definitions(
    parameters: Iterable[str], types: Mapping[str, str] | None, only_run: int | None = None
) -> dict[str, str]:
    """The SELECT of each view, in an order in which they can be made, when `parameters` are swept.

    Args:
        types: the type of each parameter's column in PostgreSQL; None for SQLite.
        only_run: a run that all of them are to show alone, instead of the newest of each experiment, or of all.
    """
    current = CURRENT if only_run is None else f"s.run_id = {only_run}"
    every_run = "" if only_run is None else f"WHERE {current}"
    numbers = SQLITE_NUMBERS if types is None else POSTGRESQL_NUMBERS
    columns = "".join(
        f"{_value_of(name, types)} AS {_quoted(column)}, " for name, column in parameter_columns(parameters).items()
    )
    every = {
        "status": "r.status, ",
        "fingerprint": ", f.fingerprint",
        "steps": "LEFT JOIN steps f ON f.step_id = s.step_id",
        "parameters": columns,
    }
    plain = {"status": "", "fingerprint": "", "steps": "", "parameters": columns}
    scores = SCORES.format(what="", **plain) + f"WHERE {current}"
    of_blocks = "s.quantity, s.block, s.other_block, s.expert, s.token_class, "
    routed = SCORES.format(what=of_blocks, **plain) + f"WHERE {current} AND s.block IS NOT NULL"
    pivots = ", ".join(
        f"max(CASE WHEN quantity = '{quantity}' THEN {inner} END) AS {outer}"
        for quantity in QUANTITIES
        for inner, outer in (("mean", quantity), ("se", f"{quantity}_se"))
    )
    return {
        "latest_runs": LATEST_RUNS if only_run is None else f"SELECT experiment, run_id FROM runs s {every_run}",
        "all_scores": SCORES.format(what=of_blocks, **every) + every_run,
        "all_similarities": SIMILARITIES.format(what="s.quantity, ", **every) + every_run,
        **{quantity: f"{scores} AND s.quantity = '{quantity}' AND s.block IS NULL" for quantity in QUANTITIES},
        "examples": EXAMPLES.format(parameters=columns, **(SQLITE_EXAMPLE if types is None else POSTGRESQL_EXAMPLE))
        + f"WHERE {current}",
        "similarity": SIMILARITIES.format(what="s.quantity, ", **plain) + f"WHERE {current}",
        "cka": SIMILARITIES.format(what="", **plain) + f"WHERE {current} AND s.quantity = 'cka'",
        "routing": routed,
        "leaderboard": LEADERBOARD.format(
            current=current,
            quantities=", ".join(f"'{quantity}'" for quantity in QUANTITIES),
            pivots=pivots,
            parameters=columns,
            columns=", ".join(f"s.{quantity}, s.{quantity}_se" for quantity in QUANTITIES),
            **numbers,
        ),
        "critical_steps": CRITICAL_STEPS.format(current=current, **numbers),
    }


def refresh(connection: Connection, needed: Mapping[str, str] | None = None) -> dict[str, str]:
    """Make the views for the parameters that the runs of this database sweep; leave them when they are right.

    Args:
        needed: the types that the columns of parameters must have at least, in PostgreSQL.

    Returns:
        the types that they have.
    """
    wait_for_others(connection)
    parameters = {name for names in connection.scalars(select(RunRecord.parameters)) for name in names}
    types = None
    if connection.dialect.name == "postgresql":
        types = parameter_types.existing(connection, parameter_columns(parameters))
        types |= {name: parameter_types.wider(kind, types[name]) for name, kind in (needed or {}).items()}
    wanted = {name: f"CREATE VIEW {name} AS {body.strip()}" for name, body in definitions(parameters, types).items()}
    if not wanted.items() <= _made(connection).items():
        _make(connection.execution_options(no_parameters=True), wanted)  # a name may have a % in it
    return types or {}


def _made(connection: Connection) -> dict[str, str]:
    """The statements by which the views were made. PostgreSQL keeps its own wording, so they are comments there."""
    if connection.dialect.name == "sqlite":
        statements = "SELECT name, sql FROM sqlite_master WHERE type = 'view'"
    else:
        statements = (
            "SELECT relname, obj_description(oid, 'pg_class') FROM pg_class "
            "WHERE relkind = 'v' AND relnamespace = current_schema()::regnamespace"
        )
    return {row[0]: row[1] for row in connection.exec_driver_sql(statements)}


def _make(connection: Connection, wanted: dict[str, str]) -> None:
    for name in reversed(wanted):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(ROUND)
    for name, statement in wanted.items():
        connection.exec_driver_sql(statement)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"COMMENT ON VIEW {name} IS {_literal(statement)}")


def wait_for_others(connection: Connection) -> None:
    """Let one process at a time change tables and views. In SQLite, the transaction has the only lock already."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('compat'))")


def parameter_columns(parameters: Iterable[str]) -> dict[str, str]:
    """The column of each swept parameter: its name, unless a view has that column already. SQL ignores case."""
    columns: dict[str, str] = {}
    taken = set(FIXED_COLUMNS)
    for name in sorted(parameters):
        column = f"param_{name}" if not name or name.lower() in FIXED_COLUMNS else name
        while column.lower() in taken:
            column += "_"
        taken.add(column.lower())
        columns[name] = column
    return columns


def _value_of(name: str, types: Mapping[str, str] | None) -> str:
    if types is not None:
        return parameter_types.value_of(_literal(name), types[name])
    if re.search(r'["\\\x00-\x1f]', name) or not name:  # what a JSON path of SQLite cannot name
        return f"(SELECT j.value FROM json_each(s.parameters) j WHERE j.key = {_literal(name)})"
    return "json_extract(s.parameters, " + _literal(f'$."{name}"') + ")"


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
