"""Files that are not YAML, not text, or not a mapping; and what plain values mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compat_spec.spec import SpecError, load
from compat_spec.spec.problems import Problems
from compat_spec.spec.yaml_files import MAX_BYTES, read_file

INDENTATION = "check the indentation: entries that belong together start in one column"
EMPTY = ":1:1: the file is empty; a spec declares `tasks`, `models`, `merges` and `metrics`"
TEXT = "a spec is a YAML text in UTF-8"
LAUGHS = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))])

FILES: list[tuple[str | bytes, list[str]]] = [
    ("", [EMPTY]),
    ("# only a comment\n", [EMPTY]),
    ("---\n...\n", [EMPTY]),
    ("- a\n", [":1:1: the file holds a list, not a mapping; a spec starts with a key such as `tasks:`"]),
    ("tasks:3\n", [":1:1: the file holds 'tasks:3', not a mapping; write a space after each `:`"]),
    ("a: 1\nb: [1, 2\nc: 3\n", [":3:2: the list that is opened on line 2 is not closed here; expected `,` or `]`"]),
    ("a: {b: 1\nc: 3\n", [":2:2: the mapping that is opened on line 1 is not closed here; expected `,` or `}`"]),
    ("a: [1,\n", [":2:1: the file ends inside a list or a mapping; close it with `]` or `}`"]),
    ("a: 1\n  b: 2\n", [f":2:4: this `:` cannot stand here; {INDENTATION}; quote text that has `: `"]),
    ("a:\n  b: 1\n c: 2\n", [f":3:2: this does not belong to what stands above it; {INDENTATION}"]),
    ("a: - b\n", [f":1:4: a list entry (`- `) cannot stand here; {INDENTATION}"]),
    (
        "a:\n\tb: 1\n    \tc: 2\n",
        [":2:1: a tab; YAML is indented with spaces", ":3:5: a tab; YAML is indented with spaces"],
    ),
    ("a: 1\nb: 'x\nc: 2\n", [":2:4: a quoted text that does not end; close the quotes"]),
    ('a: "\\q"\n', [":1:6: an unknown escape in double quotes; write `\\\\` for a backslash, or use single quotes"]),
    ("a: *b\n", [":1:4: an alias (`*name`) without an anchor (`&name`) before it; quote text that starts with `*`"]),
    ("a: &x 1\nb: &x 2\n", [":2:4: an anchor (`&name`) that is used twice; give each anchor a name of its own"]),
    ("a: 1\n---\nb: 2\n", [":2:1: a second document (`---`); a spec is one document"]),
    ("a: @x\n", [":1:4: a value cannot start with @; put it in quotes"]),
    (
        "description: !!python/object/apply:os.system [ls]\ntasks:\n",
        [
            ":1:14: description: the tag !!python/object/apply:os.system is not known; "
            "leave it out: values are plain YAML"
        ],
    ),
    ("description: !!int x\ntasks:\n", [":1:14: description: 'x' cannot be read as int"]),
    (f"description: {'9' * 5000}\ntasks:\n", [f":1:14: description: '{'9' * 60}' cannot be read as int"]),
    (f"seeds: [0x{'f' * 5000}]\nversion: 2\n", [f":1:9: seeds.0: '0x{'f' * 58}' cannot be read as int"]),
    ('description: "\\ud800"\ntasks:\n', [":1:14: description: the text has an escape that is no character"]),
    (
        "name: a\nname: b\ntasks:\n  x: {use: word_problems, use: text}\n",
        [
            ":2:1: 'name' is given twice, first on line 1; remove one of them",
            ":4:27: tasks.x: 'use' is given twice, first on line 4; remove one of them",
        ],
    ),
    (
        "<<: {name: b}\n",
        [
            ":1:1: merge keys (`<<`) are not part of YAML 1.2; write the keys out, or put what is shared into a file "
            "and extend it (`extends:`)"
        ],
    ),
    ("? [a]\n: 1\n", [":1:3: a key must be plain text"]),
    ("a: &a [*a]\n", [":1:4: a.0: an alias refers to the value that it stands in; write the values out"]),
    (LAUGHS, [":6:5: written out, the aliases make more than 100,000 values; write the values out"]),
    (f"a: {'[' * 60}{']' * 60}\n", [":1:54: values are nested more than 50 deep; write the values out"]),
    ("[" * 5000, [":1:1: values are nested more than 50 deep"]),
    (b"\x89PNG\r\n\x1a\n\0\0", [f":1:1: the file is binary; {TEXT}"]),
    (b"a: 1\n\0", [f":2:1: the file is binary; {TEXT}"]),
    ("name: ok\nseeds: é".encode("latin-1"), [f":2:8: byte 0xe9 is not UTF-8; {TEXT}"]),
    (b"name: a\x07b\n", [f":1:8: the character U+0007 is not allowed; {TEXT}"]),
    (b"#" * (MAX_BYTES + 1), [": the file has more than 256 KiB; a spec is a short text"]),
]


@pytest.mark.parametrize(("text", "expected"), FILES, ids=[repr(text[:30]) for text, _ in FILES])
def test_what_is_no_spec_is_said_in_words(
    problems_of: Callable[..., list[str]], text: str | bytes, expected: list[str]
) -> None:
    found = problems_of(text)
    assert found[: len(expected)] == [f"spec.yaml{line}" for line in expected]
    assert len({line.split(": ")[0] for line in found}) == len(found), "two mistakes at one place"


def test_a_file_that_is_not_there(write: Callable[..., Path]) -> None:
    write("")
    for path, reason in [
        ("nope.yaml", "there is no such file"),
        (".", "this is a folder, not a file"),
        ("a\0b", "the file cannot be read: embedded null byte"),
    ]:
        with pytest.raises(SpecError) as raised:
            load(path)
        assert str(raised.value) == f"{path}: {reason}"


VALUES = {
    "on": "on",
    "yes": "yes",
    "off": "off",
    "true": True,
    "False": False,
    "~": None,
    "": None,
    "1e-3": 1e-3,
    "4E2": 400.0,
    "-.5": -0.5,
    "3.": 3.0,
    "017": 17,
    "0o17": 15,
    "0xff": 255,
    "1_000": "1_000",
    "12:30": "12:30",
    "2024-01-01": "2024-01-01",
    "0.1.2": "0.1.2",
    "-": "-",
    ".inf": float("inf"),
    "-.INF": float("-inf"),
    "'1'": "1",
    "!!str 1": "1",
    "!!float 1": 1.0,
}


@pytest.mark.parametrize(("text", "value"), VALUES.items())
def test_plain_values_follow_the_core_schema_of_yaml_1_2(write: Callable[..., Path], text: str, value: Any) -> None:
    if text == "-":
        text = '"-"'
    problems = Problems()
    node = read_file(write(f"a: {text}\n"), "spec.yaml", 0, problems)
    assert not len(problems)
    assert node is not None
    found = node.plain()["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text(write: Callable[..., Path]) -> None:
    node = read_file(write("on: 1\ntrue: 2\n3: 4\n1e-3: 5\n"), "spec.yaml", 0, Problems())
    assert node is not None
    assert node.plain() == {"on": 1, "true": 2, "3": 4, "1e-3": 5}


def test_a_byte_order_mark_is_no_mistake(write: Callable[..., Path]) -> None:
    node = read_file(write(b"\xef\xbb\xbfname: a\n"), "spec.yaml", 0, Problems())
    assert node is not None
    assert node.plain() == {"name": "a"}


def test_an_alias_is_written_out(write: Callable[..., Path]) -> None:
    node = read_file(write("a: &x {b: [1, 2]}\nc: *x\n"), "spec.yaml", 0, Problems())
    assert node is not None
    assert node.plain() == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}}
    assert str(node.mapping["c"].mapping["b"].place) == "spec.yaml:1:11"
