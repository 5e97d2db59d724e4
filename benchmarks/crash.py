"""A crash campaign: a run is killed again and again, and its numbers must be those of a run that nobody touched.

Starts one small experiment with two workers and kills (`kill -9`) its driver or one of its workers at random moments,
some of them aimed at what is delicate: an artifact that is being written, the checkpoint of a training, rows on their
way into the database. Each start goes on where the one before was killed, until one ends by itself; then everything
that it left behind is looked at, and the next round begins with an empty store:

- the numbers of the run that ended equal those of an undisturbed run, row by row and bit by bit, none twice;
- every step of the experiment is recorded once in that run, and was computed once in the whole round at most;
- `compat cache verify` finds nothing broken, and `compat cache gc` leaves nothing that was temporary;
- `results.db` is whole; no process outlives its driver.

    python benchmarks/crash.py --kills 100 --seed 0

Needs Linux: it looks for processes in /proc. Exit status 1 when anything differs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SPEC = """
name: crash
tasks:
  math: {use: word_problems, train: 60, test: 20}
  program: {use: program_problems, train: 60, test: 20}
models:
  base:
    use: causal_lm
    config: {model_type: gpt2, n_layer: 2, n_embd: 16, n_head: 2, n_positions: 64}
    tokenizer: {train_on: [math], vocab_size: 300}
    train: {on: math, steps: 40, batch_size: 2, context: 32}
  one: {from: base, train: {on: math, steps: 100, save_at: [10, 40], update: mlp, batch_size: 2, context: 32}}
  two: {from: base, train: {on: program, steps: 100, save_at: [10, 40], update: mlp, batch_size: 2, context: 32}}
merges:
  average: {use: linear, models: [one, two]}
  blend: {use: activation_interpolation, models: [one, two], alpha: {sweep: [0.25, 0.75]}, at: {sweep: [10, 40]}}
  ensemble: {use: logit_average, models: [one, two]}
  router: {use: routing, models: [one, two], train: {on: program, steps: 20, batch_size: 2, context: 32}}
metrics:
  loss: {use: cross_entropy, on: program, tokens: 256}
  accuracy: {use: token_accuracy, on: program, tokens: 256}
  cka: {use: cka, between: [one, two], on: program, tokens: 64, at: {sweep: [10, 40]}}
  load: {use: router_load, on: program, tokens: 256}
"""

COMPAT = Path(sys.executable).with_name("compat")
RUN = ("run", "crash.yaml", "--workers", "2", "--device", "cpu", "--checkpoint-every", "0.2", "--retries", "1000")

VICTIMS = ("driver", "worker", "worker", "worker")
"""Mostly workers: a run outlives them, so that one start, which takes seconds, serves for several kills."""
PATIENCE = 5.0
"""Seconds in which the workers of a killed driver must be gone."""
LONGEST = 300.0
"""Seconds after which a run hangs: none takes a tenth of that."""

SCORES = """
SELECT s.metric, s.quantity, s.split, m.name, t.name, s.training_step, s.seed, s.parameters, s.block, s.expert, s.n,
    s.value
FROM scores s JOIN models m USING (model_id) JOIN tasks t USING (task_id)
WHERE s.run_id = (SELECT max(run_id) FROM runs)
"""
SIMILARITIES = """
SELECT s.metric, s.measure, s.quantity, t.name, a.name, b.name, s.step_a, s.step_b, s.layer_a, s.layer_b, s.seed,
    s.parameters, s.n, s.value
FROM similarities s JOIN tasks t USING (task_id)
    JOIN models a ON a.model_id = s.model_a_id JOIN models b ON b.model_id = s.model_b_id
WHERE s.run_id = (SELECT max(run_id) FROM runs)
"""
STEPS = "SELECT fingerprint, label FROM steps WHERE run_id = (SELECT max(run_id) FROM runs)"
DONE = "status IN ('computed', 'reused')"


@dataclass(frozen=True)
class Numbers:
    """What the newest run of a database found; the last column of scores and similarities is the value."""

    scores: list[tuple[object, ...]]
    similarities: list[tuple[object, ...]]
    steps: list[tuple[object, ...]]

    @classmethod
    def read(cls, folder: Path) -> Numbers:
        return cls(*(sorted(_rows(folder, query), key=repr) for query in (SCORES, SIMILARITIES, f"{STEPS} AND {DONE}")))


@dataclass
class Place:
    """A folder with the spec, a store and results."""

    folder: Path
    starts: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "crash.yaml").write_text(SPEC, "utf-8")

    @property
    def store(self) -> Path:
        return self.folder / ".compat"

    def start(self) -> subprocess.Popen[bytes]:
        """`compat run` in a session of its own, by which its processes are known."""
        with (self.folder / "output.txt").open("ab") as output:
            return subprocess.Popen(
                [COMPAT, *RUN],
                cwd=self.folder,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def compat(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([COMPAT, *arguments], cwd=self.folder, capture_output=True, text=True, check=False)

    def end_of_output(self) -> str:
        return (self.folder / "output.txt").read_text("utf-8", errors="replace")[-2000:]


# ---------------------------------------------------------------------------------------------------------- processes


def processes(session: int) -> list[int]:
    """The living processes of a session: those of one start."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = (folder / "stat").read_text("utf-8").rsplit(")", 1)[1].split()[:4]
        except OSError:  # it has just ended
            continue
        if int(of) == session and state != "Z":
            found.append(int(folder.name))
    return found


def workers(driver: int) -> list[int]:
    """The worker processes of a start: those that were spawned, not the one that keeps track of shared memory."""
    found = []
    for pid in processes(driver):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in command:
            found.append(pid)
    return sorted(found)


# -------------------------------------------------------------------------------------------------------------- kills


def artifacts_being_written(place: Place) -> set[object]:
    return set((place.store / "aside").glob("*"))


def trainings_being_saved(place: Place) -> set[object]:
    return set((place.store / "work").glob("*/*.part"))


def rows_written(place: Place) -> set[object]:
    try:
        return {(place.folder / "results.db-wal").stat().st_mtime_ns}
    except OSError:
        return set()


@dataclass(frozen=True)
class Aim:
    """A delicate moment, when there is something new to see, and how often it comes in a run: one of these is hit."""

    at: str
    seen: Callable[[Place], set[object]]
    times: int


ANY_MOMENT = Aim("any moment", lambda _: set(), 1)
AIMS = (
    ANY_MOMENT,
    Aim("an artifact being written", artifacts_being_written, 8),
    Aim("a training being saved", trainings_being_saved, 3),
    Aim("rows being written", rows_written, 8),
)


class Campaign:
    """Kills, and what was found wrong after them."""

    def __init__(self, kills: int, seed: int, folder: Path) -> None:
        self.wanted = kills
        self.folder = folder
        self.random = random.Random(seed)
        self.hits: Counter[tuple[str, str]] = Counter()
        self.problems: list[str] = []
        self.rounds = 0
        self.starts = 0
        self.usual = 0.0
        """Seconds that the undisturbed run took."""

    @property
    def kills(self) -> int:
        return self.hits.total()

    def go(self) -> None:
        place = Place(self.folder / "undisturbed")
        started = time.monotonic()
        if self._ends(place.start()) != 0:
            self.problems.append(f"the undisturbed run fails:\n{place.end_of_output()}")
            return
        self.usual = time.monotonic() - started
        expected = Numbers.read(place.folder)
        print(
            f"undisturbed: {self.usual:.1f} s, {len(expected.steps)} steps, {len(expected.scores)} scores, "
            f"{len(expected.similarities)} similarities",
            flush=True,
        )
        while self.kills < self.wanted and not self.problems:
            self._round(expected)

    def _round(self, expected: Numbers) -> None:
        """Start the experiment until it ends by itself, and look at what is there then."""
        self.rounds += 1
        place = Place(self.folder / f"round-{self.rounds}")
        before = self.kills
        starts = 0
        while (status := self._start(place)) is None:
            starts += 1
        found = [f"exit status {status}\n{place.end_of_output()}"] if status else list(_differences(place, expected))
        self.problems += [f"round {self.rounds}: {problem}" for problem in found]
        print(
            f"round {self.rounds}: {self.kills - before} kills in {starts + 1} starts: "
            f"{'; '.join(found) or 'all right'}",
            flush=True,
        )

    def _start(self, place: Place) -> int | None:
        """One start: its exit status, or None when its driver was killed."""
        self.starts += 1
        process = place.start()
        try:
            while self.kills < self.wanted:
                aim = self.random.choice(AIMS)
                moment = self.random.uniform(0, self.usual / 2)
                time_of_many = self.random.randint(1, aim.times)
                victim = self.random.choice(VICTIMS)
                which = self.random.random()
                if self._ended_before(place, process, aim, moment, time_of_many):
                    break
                if victim == "driver":
                    process.kill()
                    process.wait()
                    self.hits[victim, aim.at] += 1
                    return None
                # its run goes on, and may be hit again
                if alive := workers(process.pid):
                    os.kill(alive[int(which * len(alive))], signal.SIGKILL)
                    self.hits[victim, aim.at] += 1
            return self._ends(process)
        finally:
            self._must_be_gone(process.pid)

    def _ended_before(
        self, place: Place, process: subprocess.Popen[bytes], aim: Aim, moment: float, time_of_many: int
    ) -> bool:
        """Wait for the moment to kill: seconds from now, or a time that something happens. Whether the run ended."""
        deadline = time.monotonic() + (moment if aim is ANY_MOMENT else LONGEST)
        count, before = 0, aim.seen(place)
        while process.poll() is None:
            now = aim.seen(place)
            count += not now <= before
            before = now
            if count == time_of_many or time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def _ends(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            self.problems.append(f"a run has not ended after {LONGEST:g} s")
            process.kill()
            return process.wait()

    def _must_be_gone(self, session: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while alive := processes(session):
            if time.monotonic() > deadline:
                self.problems.append(f"{len(alive)} processes outlive their driver")
                os.killpg(session, signal.SIGKILL)
                return
            time.sleep(0.01)


# --------------------------------------------------------------------------------------------- after a run has ended


def _differences(place: Place, expected: Numbers) -> Iterator[str]:
    """What is not as an undisturbed run leaves it."""
    found = Numbers.read(place.folder)
    for name in ("scores", "similarities", "steps"):
        ours, theirs = Counter(getattr(found, name)), Counter(getattr(expected, name))
        if ours != theirs:
            missing, extra = theirs - ours, ours - theirs
            yield (
                f"{name}: {missing.total()} rows are missing, {extra.total()} should not be there: "
                f"{[*missing, *extra][:4]}"
            )
        keys = Counter(row[:-1] for row in getattr(found, name))
        if twice := [key for key, count in keys.items() if count > 1]:
            yield f"{name}: {len(twice)} are there twice: {twice[:2]}"
    again = _rows(
        place.folder,
        "SELECT label, count(*) FROM steps WHERE status = 'computed' GROUP BY fingerprint HAVING count(*) > 1",
    )
    if again:
        yield f"computed more than once: {again}"
    (status,) = _rows(place.folder, "SELECT status FROM runs ORDER BY run_id DESC LIMIT 1")
    if status != ("finished",):
        yield f"the run that ended is recorded as {status[0]}"
    whole = _rows(place.folder, "PRAGMA integrity_check")
    if whole != [("ok",)]:
        yield f"results.db is not whole: {whole}"
    verified = place.compat("cache", "verify")
    if verified.returncode != 0 or "none broken" not in verified.stdout:
        yield f"cache verify: {verified.stdout}{verified.stderr}"
    cleared = place.compat("cache", "gc", "--older-than", "30d")
    if cleared.returncode != 0 or "removed 0 artifacts" not in cleared.stdout:
        yield f"cache gc: {cleared.stdout}{cleared.stderr}"
    for name in ("aside", "locks", "users", "broken", "work"):
        left = sorted(path.name for path in (place.store / name).glob("*"))
        if left:
            yield f"cache gc leaves {len(left)} in {name}/: {left[:3]}"
    artifacts = {path.name for path in (place.store / "artifacts").glob("*/*")}
    steps = {row[0] for row in expected.steps}
    if artifacts != steps:
        yield f"the store lacks {len(steps - artifacts)} artifacts, and has {len(artifacts - steps)} of no step"


def _rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "results.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many processes to kill; %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments and the victims; %(default)s")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        campaign = Campaign(options.kills, options.seed, Path(folder))
        campaign.go()
    minutes = (time.monotonic() - started) / 60
    print(f"\n{campaign.kills} kills in {campaign.starts} starts and {campaign.rounds} rounds, {minutes:.1f} min:")
    for (victim, aim), count in sorted(campaign.hits.items()):
        print(f"{count:6} of a {victim} at {aim}")
    for problem in campaign.problems:
        print(f"WRONG: {problem}")
    print("something differs" if campaign.problems else "nothing differs from the undisturbed run")
    return 1 if campaign.problems else 0


if __name__ == "__main__":
    sys.exit(main())
