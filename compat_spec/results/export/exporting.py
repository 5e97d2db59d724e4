"""Exports the views, and the tables if asked for, row by row: results may be larger than the memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from compat_spec.results.database import Results
from compat_spec.results.errors import ResultsError
from compat_spec.results.export.writers import (
    Writer,
    insist_on,
    write_csv,
    write_duckdb,
    write_jsonl,
    write_parquet,
)
from compat_spec.results.relations import CLASSES, CONVERSIONS, Relation

Kind: TypeAlias = Literal["parquet", "csv", "duckdb", "jsonl"]

WRITERS: dict[Kind, tuple[Writer, tuple[str, ...]]] = {
    "parquet": (write_parquet, ("pyarrow",)),
    "csv": (write_csv, ()),
    "duckdb": (write_duckdb, ("duckdb", "pyarrow")),
    "jsonl": (write_jsonl, ()),
}
"""How each kind is written, and the libraries that this takes."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A view or table that was written: where, and how many rows."""

    name: str
    path: Path
    rows: int


def export(
    results: Results, to: Kind, out: str | Path, *, run: str | None = None, tables: bool = False, force: bool = False
) -> list[Exported]:
    """Write every view as `OUT/NAME.EXTENSION`, or as a table of the file `OUT` of DuckDB.

    Columns have one type each: whole numbers, numbers, text or, in tables, moments in UTC. NULL, which NaN is in the
    results, stays NULL.

    Args:
        run: a run as `Results.run` finds it, which all views then show; by default they show what they show in SQL.
        tables: the tables as well.
        force: overwrite what is there.

    Raises:
        ResultsError: something is there already, cannot be written, or needs a library that is missing. No file is
            left half-written.
    """
    write, libraries = WRITERS[to]
    insist_on(*libraries)
    out = Path(out)
    found = results.relations(None if run is None else results.run(run).id, tables=tables)
    targets = {relation.name: out if to == "duckdb" else out / f"{relation.name}.{to}" for relation in found}
    _refuse(out, to, list(targets.values()), force)
    done = []
    try:
        folder = out.parent if to == "duckdb" else out
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(targets.values())
        for relation in found:
            rows = _written(results, relation, write, _aside(targets[relation.name]))
            done.append(Exported(relation.name, targets[relation.name], rows))
        for target in set(targets.values()):
            os.replace(_aside(target), target)
            if to == "duckdb":
                _log_of(target).unlink(missing_ok=True)  # of the file that was there
    except OSError as error:
        raise ResultsError(f"cannot write {error.filename or out}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            _remove_unfinished(targets.values())
    return done


def _written(results: Results, relation: Relation, write: Writer, path: Path) -> int:
    with results.stream(relation.sql) as (names, rows):
        columns = {name: relation.types[name] for name in names}
        conversions = [CONVERSIONS[kind] for kind in columns.values()]
        kinds = [(type(None), CLASSES[kind]) for kind in columns.values()]

        def converted() -> Iterator[tuple[Any, ...]]:
            for row in rows:
                # most values are what they should be
                yield tuple(
                    value if type(value) in right else convert(value)
                    for value, right, convert in zip(row, kinds, conversions, strict=True)
                )

        return write(path, relation.name, columns, converted())


def _refuse(out: Path, to: Kind, targets: list[Path], force: bool) -> None:
    if to == "duckdb" and out.is_dir():
        raise ResultsError(f"{out} is a folder; for duckdb, name a file such as {out / 'results.duckdb'}")
    if to != "duckdb" and out.exists() and not out.is_dir():
        raise ResultsError(f"{out} is a file; for {to}, name a folder")
    there = [target for target in dict.fromkeys(targets) if target.exists()]
    if there and not force:
        more = f" and {len(there) - 1} more are" if len(there) > 1 else " is"
        raise ResultsError(f"{there[0]}{more} there already; --force overwrites")


def _remove_unfinished(targets: Iterable[Path]) -> None:
    """What an export that was stopped left; DuckDB may leave a log beside its file, and would believe it."""
    for target in set(targets):
        for path in (_aside(target), _log_of(_aside(target))):
            path.unlink(missing_ok=True)


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _aside(target: Path) -> Path:
    """Where a file is until it is whole."""
    return target.with_name(f".{target.name}.partial")
