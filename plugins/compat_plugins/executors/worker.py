"""A process that runs one step at a time, and the end of the pipe that its driver holds."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any

from compat_spec.components import Job, JobReport, JobRunner, Link
from compat_spec.errors import WorkerLost, portable

TOLD_EVERY = 0.05
"""Seconds between two words of a job about its progress; what it says in between is not sent."""

_SPAWN = multiprocessing.get_context("spawn")


class Worker:
    """A worker process as its driver sees it: one job at a time, from `submit` to the end of its future.

    Args:
        threads: that torch may use there; None is all.
    """

    def __init__(self, runner: JobRunner, device: str, link: Link, threads: int | None) -> None:
        self.device = device
        self.held: set[str] = set()
        """The artifacts that its jobs have read or made: they may be in its memory."""
        self._link = link
        self._future: Future[JobReport] | None = None
        self._job: Job | None = None
        self._lost: WorkerLost | None = None
        """How the process ended, once it has."""
        self._lock = threading.Lock()
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs,), daemon=True, name=f"compat-{device}")
        self._process.start()
        theirs.close()
        # still pickled when it arrives: what it imports takes seconds, and the process listens before
        self._say((pickle.dumps(runner), device, threads))
        self._listener = threading.Thread(target=self._listen, daemon=True, name=f"listens to {device}")
        self._listener.start()

    @property
    def alive(self) -> bool:
        return self._lost is None

    @property
    def busy(self) -> bool:
        return self._future is not None

    def submit(self, job: Job) -> Future[JobReport]:
        future: Future[JobReport] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._lost is not None:
                future.set_exception(self._lost)
                return future
            self._future, self._job = future, job
        self._say(job)
        return future

    def stop(self) -> None:
        """Tell the running job to end where nothing is lost."""
        self._say("stop")

    def say_close(self) -> None:
        """Tell the process to end."""
        self._say("close")

    def close(self, patience: float) -> None:
        """Wait for the process, which has been told to end; kill it when it has not after `patience` seconds."""
        self._listener.join(max(0.0, patience))
        if self._listener.is_alive():
            self._process.kill()
            self._listener.join()
        self._pipe.close()

    def _say(self, word: object) -> None:
        try:
            self._pipe.send(word)
        except OSError:  # it is gone, as the listener finds out
            return

    def _listen(self) -> None:
        while True:
            try:
                kind, content = self._pipe.recv()
            except (EOFError, OSError):
                # not `join`: when another thread has just asked after the process, it knows no status for a moment
                while (status := self._process.exitcode) is None:
                    time.sleep(0.01)
                with self._lock:
                    self._lost = _how_it_ended(status)
                self._end(error=self._lost)
                return
            match kind:
                case "progress":
                    self._link.tell(*content)
                case "report":
                    self._end(report=content)
                case "error":
                    self._end(error=content)

    def _end(self, report: JobReport | None = None, error: BaseException | None = None) -> None:
        with self._lock:
            future, job = self._future, self._job
            self._future = self._job = None
        if future is None or job is None:
            return
        self.held |= job.needs | {job.fingerprint}
        if error is not None:
            future.set_exception(error)
        else:
            assert report is not None
            future.set_result(report)


def _how_it_ended(status: int) -> WorkerLost:
    if status >= 0:
        return WorkerLost(f"the process that ran it ended with status {status}")
    name = signal.Signals(-status).name
    hint = " (is the machine out of memory?)" if name == "SIGKILL" else ""
    return WorkerLost(f"the process that ran it was ended by {name}{hint}")


# ------------------------------------------------------------------------------------------------ inside the process


class _PipeLink:
    """The `Link` of the jobs of a worker."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        self._stop = threading.Event()
        self._told = 0.0

    def tell(self, fingerprint: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if now - self._told >= TOLD_EVERY or done == total:
            self._told = now
            self.send("progress", (fingerprint, done, total, note))

    def stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()

    def send(self, kind: str, content: Any) -> None:
        with self._sending:
            self._pipe.send((kind, content))


def _serve(pipe: Connection) -> None:
    """Run the jobs that come through a pipe, until it says `close`."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes of a terminal; the driver says what to do
    link = _PipeLink(pipe)
    jobs: list[Job] = []
    some = threading.Semaphore(0)
    runner, device, threads = pipe.recv()

    def hear() -> None:
        while True:
            try:
                word = pipe.recv()
            except (EOFError, OSError):
                os._exit(1)  # the driver is gone, and its locks with it: nobody may go on here
            if word == "stop":
                link.stop()
            elif word == "close":
                some.release()
                return
            else:
                jobs.append(word)
                some.release()

    threading.Thread(target=hear, daemon=True).start()
    run: JobRunner = pickle.loads(runner)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    while True:
        some.acquire()
        if not jobs:
            return
        job = jobs.pop(0)
        try:
            report = run(job, device, link)
        except BaseException as error:
            link.send("error", portable(error))
        else:
            link.send("report", report)
