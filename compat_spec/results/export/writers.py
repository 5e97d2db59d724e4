"""Writes the rows of one relation, as they come, into a file of some kind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from compat_spec.results.errors import ResultsError
from compat_spec.results.parameter_types import NUMBER, TEXT, WHOLE
from compat_spec.results.relations import TIME

if TYPE_CHECKING:
    import pyarrow

AT_ONCE = 20_000
"""Rows that are in memory at once."""

Columns: TypeAlias = Mapping[str, str]
"""The type of each column, in order."""

Rows: TypeAlias = Iterable[tuple[Any, ...]]
Writer: TypeAlias = Callable[[Path, str, Columns, Rows], int]
"""Writes the relation of a name into a file, and says how many rows it has."""


def write_csv(path: Path, _: str, columns: Columns, rows: Rows) -> int:
    """Comma-separated values by RFC 4180, in UTF-8. NULL is nothing, empty text is `""`."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(map(_csv_text, columns)) + "\n")
        for row in rows:
            file.write(",".join(map(_csv_value, row)) + "\n")
            count += 1
    return count


def write_jsonl(path: Path, _: str, columns: Columns, rows: Rows) -> int:
    """One JSON object to a line, in UTF-8. Infinity, for which JSON has no word, is the number 1e999."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for row in rows:
            file.write(_json_object(dict(zip(columns, row, strict=True))) + "\n")
            count += 1
    return count


def write_parquet(path: Path, _: str, columns: Columns, rows: Rows) -> int:
    """Parquet, compressed by Zstandard."""
    import pyarrow.parquet

    count = 0
    schema = _schema(columns)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(schema, rows):
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def write_duckdb(path: Path, name: str, columns: Columns, rows: Rows) -> int:
    """A table of that name in a database of DuckDB, which may have others already."""
    import duckdb
    import pyarrow

    schema = _schema(columns)
    count = 0
    try:
        with duckdb.connect(str(path)) as connection:
            connection.register("incoming", schema.empty_table())
            connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM incoming')
            for batch in _batches(schema, rows):
                connection.register("incoming", pyarrow.Table.from_batches([batch]))
                connection.execute(f'INSERT INTO "{name}" SELECT * FROM incoming')
                count += batch.num_rows
    except duckdb.Error as error:  # such as a full disk
        raise OSError(str(error)) from error
    return count


def insist_on(*modules: str) -> None:
    """Raise an error that says what to install where a library is missing."""
    from importlib.util import find_spec

    for module in modules:
        if find_spec(module) is None:
            raise ResultsError(f'this needs {module}, which is not installed: pip install "compat-spec[export]"')


def _schema(columns: Columns) -> pyarrow.Schema:
    import pyarrow as pa

    types = {WHOLE: pa.int64(), NUMBER: pa.float64(), TEXT: pa.string(), TIME: pa.timestamp("us")}
    return pa.schema([pa.field(name, types[kind]) for name, kind in columns.items()])


def _batches(schema: pyarrow.Schema, rows: Rows) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow as pa

    left = iter(rows)
    while some := list(islice(left, AT_ONCE)):
        arrays = [pa.array(values, field.type) for values, field in zip(zip(*some, strict=True), schema, strict=True)]
        yield pa.record_batch(arrays, schema=schema)


def _csv_value(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return _csv_text(value)
        case datetime():
            return value.isoformat()
    return repr(value)


@lru_cache(1000)
def _csv_text(text: str) -> str:
    if text and not any(mark in text for mark in ',"\n\r') and text.strip() == text:
        return text
    return '"' + text.replace('"', '""') + '"'


def _json_object(row: dict[str, Any]) -> str:
    try:
        return _encoder.encode(row)
    except ValueError:  # infinity
        pairs = (f"{_encoder.encode(name)}:{_json_value(value)}" for name, value in row.items())
        return "{" + ",".join(pairs) + "}"


def _json_value(value: Any) -> str:
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    return _encoder.encode(value)


_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda moment: moment.isoformat()
)
