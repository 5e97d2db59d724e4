"""`compat schema`: to the terminal or into a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]

COMPAT = Path(sys.executable).with_name("compat")


def compat(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(COMPAT), *arguments], capture_output=True, text=True, check=False)


def test_it_is_a_schema_and_the_same_in_a_file(tmp_path: Path) -> None:
    printed = compat("schema")
    assert (printed.returncode, printed.stderr) == (0, "")
    schema = json.loads(printed.stdout)
    jsonschema.Draft7Validator.check_schema(schema)
    path = tmp_path / "compat.schema.json"
    done = compat("schema", "-o", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads(path.read_text("utf-8")) == schema


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    done = compat("schema", "-o", str(tmp_path / "nowhere" / "schema.json"))
    assert done.returncode == 1
    assert "cannot be written: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_its_help_has_an_example() -> None:
    done = compat("schema", "--help")
    assert done.returncode == 0
    assert "compat schema -o" in done.stdout
