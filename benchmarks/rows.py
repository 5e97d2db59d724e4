"""How fast a run's rows get into the results, and how fast a question about all of them is answered.

Writes score rows as a run does, through `RunWriter`, a batch in each transaction; then asks for the mean loss of each
merge and seed, of the view and of the bare table. The yardstick is Python's sqlite3 by itself: the same values into the
same table by one `executemany` in one transaction, and the same question. Prints rows per second and ratios.

    python benchmarks/rows.py                            a million rows into a new file of SQLite
    python benchmarks/rows.py --rows 100000 --batch 10
    python benchmarks/rows.py --results postgresql+psycopg://me@localhost/empty_database
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

from compat_spec.results import ModelRow, Results, RunInfo, ScoreRow, StepRow, TaskRow, open_results

MODELS = tuple(f"merge_{number}" for number in range(20))
SEEDS = 5
ALPHAS = 10

OF_VIEW = "SELECT merge, seed, avg(value) FROM loss GROUP BY merge, seed"
OF_TABLE = (
    "SELECT m.name, s.seed, avg(s.value) FROM scores s JOIN models m ON m.model_id = s.model_id GROUP BY m.name, s.seed"
)
COUNT = "SELECT count(*) FROM scores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=100, help="rows in a transaction: what one step of a run finds")
    parser.add_argument("--repeat", type=int, default=5, help="how often each question is asked")
    parser.add_argument("--results", help="an empty database; a new file of SQLite, unless given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = options.results or str(folder / "results.db")
        written = write(open_results(where, create=True), options.rows, options.batch)
        results = open_results(where, create=False)
        found = results.query(COUNT).rows[0][0]
        assert found == options.rows, f"{found} rows: the database was not empty"
        asked = {"of the view loss": OF_VIEW, "of the tables": OF_TABLE}
        answered = {what: median(partial(results.query, sql), options.repeat) for what, sql in asked.items()}

        plain = folder / "plain.db"
        open_results(plain, create=True)
        yardstick = write_plainly(plain, options.rows)
        with closing(sqlite3.connect(plain)) as connection:
            plain_answer = median(lambda: connection.execute(OF_TABLE).fetchall(), options.repeat)

        print(f"{options.rows:,} rows into {results.name}, {options.batch} in a transaction")
        print(f"  RunWriter          {options.rows / written:12,.0f} rows/s   {written:7.2f} s")
        print(f"  executemany        {options.rows / yardstick:12,.0f} rows/s   {yardstick:7.2f} s")
        print(f"  ratio              {written / yardstick:12.2f}")
        for what, seconds in answered.items():
            print(
                f"  asked {what:<18} {seconds:7.3f} s, {seconds / plain_answer:.2f} of sqlite3's {plain_answer:.3f} s"
            )
        for path in (folder / "results.db", plain):
            if path.exists():
                print(f"  {path.name:<12} {path.stat().st_size / 1e6:10.1f} MB")


def rows(count: int) -> Iterator[ScoreRow]:
    """Losses of a sweep over alpha and training steps, as measuring steps find them."""
    for number in range(count):
        yield ScoreRow(
            fingerprint=f"{number // 10_000:064x}",
            metric="loss",
            quantity="loss",
            task="program",
            split="test",
            model=MODELS[number % len(MODELS)],
            training_step=number // (len(MODELS) * SEEDS * ALPHAS),
            seed=number // len(MODELS) % SEEDS,
            value=2.0 + number % 997 / 997,
            n=4096,
            parameters={"alpha": number // (len(MODELS) * SEEDS) % ALPHAS / ALPHAS},
        )


def write(results: Results, count: int, batch: int) -> float:
    """Write rows as a run does; the seconds that writing took, without making the rows."""
    writer = results.start_run(
        RunInfo(
            experiment="benchmark",
            spec_text="name: benchmark\n",
            spec_path="benchmark.yaml",
            command="benchmarks/rows.py",
            versions={},
            commit=None,
            host="",
            device="cpu",
            executor="inline",
            parameters=("alpha",),
            models=[ModelRow(name=name, role="merge") for name in MODELS],
            tasks=[TaskRow(name="program", use="program_problems")],
        )
    )
    steps = range((count + 9_999) // 10_000)
    writer.steps(
        [StepRow(fingerprint=f"{n:064x}", kind="measure", label=f"loss {n}", status="computed") for n in steps]
    )
    made = rows(count)
    seconds = 0.0
    while some := list(islice(made, batch)):
        start = time.perf_counter()
        writer.scores(some)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    writer.finish("finished")
    return seconds + time.perf_counter() - start


def write_plainly(path: Path, count: int) -> float:
    """Write the same values into the same table by sqlite3 alone; the seconds that it took."""
    write(open_results(path, create=True), 0, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        values = [
            (number % len(MODELS) + 1, row.training_step, row.seed, json.dumps(row.parameters), row.value, row.n)
            for number, row in enumerate(rows(count))
        ]
        start = time.perf_counter()
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO scores (run_id, step_id, task_id, metric, quantity, split, model_id, training_step, seed, "
            "parameters, value, n) VALUES (1, 1, 1, 'loss', 'loss', 'test', ?, ?, ?, ?, ?, ?)",
            values,
        )
        connection.execute("COMMIT")
    return time.perf_counter() - start  # with closing, which moves the log into the file, as `finish` does


def median(action: Callable[[], object], repeat: int) -> float:
    """The median of the seconds that an action takes."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
