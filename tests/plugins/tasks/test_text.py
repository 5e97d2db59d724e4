"""The user's own files: what becomes of them, and what is said about those that cannot be used."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from compat_plugins.tasks.text import TextFiles
from compat_spec.components import Example
from compat_spec.errors import UsageError


def write(path: Path, content: str | bytes | list[Any]) -> Path:
    if isinstance(content, list):
        content = "".join(json.dumps(record) + "\n" for record in content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def text_files(folder: Path, **params: Any) -> TextFiles:
    return TextFiles.model_validate(params, context={"folder": folder})


def texts(examples: Any) -> list[str]:
    return [example.text for example in examples]


def test_documents_of_text_files_stand_between_blank_lines(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "one\nmore of one\n\n\n\n  two\r\n\r\nthree")
    write(tmp_path / "b.txt", "\ufefffour\n")
    write(tmp_path / "test.txt", "five\n")
    splits = text_files(tmp_path, train=["a.txt", "b.txt"], test="test.txt").splits()
    assert texts(splits["train"]) == ["one\nmore of one\n", "two\n", "three\n", "four\n"]
    assert splits["test"] == [Example("", "five\n")]


def test_a_separator_of_ones_own_or_none(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "one\n---\ntwo\n\nstill two\n")
    write(tmp_path / "b.txt", "test")
    paths = {"train": "a.txt", "test": "b.txt"}
    assert texts(text_files(tmp_path, **paths, separator="---").splits()["train"]) == ["one\n", "two\n\nstill two\n"]
    assert texts(text_files(tmp_path, **paths, separator=None).splits()["train"]) == ["one\n---\ntwo\n\nstill two\n"]


@pytest.mark.parametrize(
    ("fields", "record", "example"),
    [
        (None, {"text": "a", "other": 1}, Example("", "a")),
        (None, {"answer": "a"}, Example("", "a")),
        (None, {"prompt": "p\n", "answer": "a", "expected": 7}, Example("p\n", "a", "7")),
        ({"prompt": "question", "answer": "solution"}, {"question": "q", "solution": "s"}, Example("q", "s")),
        ({"text": "content"}, {"content": "c", "text": "t"}, Example("", "c")),
        (
            {"prompt": "Q: {q}\nA: ", "answer": "{a} {{{b}}}\n"},
            {"q": "1?", "a": 2, "b": 3.5},
            Example("Q: 1?\nA: ", "2 {3.5}\n"),
        ),
        ({"answer": "a", "expected": "a b"}, {"a": "x", "a b": "y"}, Example("", "x", "y")),
    ],
)
def test_fields_of_lines(tmp_path: Path, fields: Mapping[str, str] | None, record: Any, example: Example) -> None:
    write(tmp_path / "a.jsonl", [record])
    write(tmp_path / "b.txt", "test")
    assert text_files(tmp_path, train="a.jsonl", test="b.txt", fields=fields).splits()["train"] == [example]


def test_blank_lines_between_records_are_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", '{"text": "a\\u2028b"}\n\n  \n{"text": "\u2028c"}')
    write(tmp_path / "b.txt", "test")
    assert texts(text_files(tmp_path, train="a.jsonl", test="b.txt").splits()["train"]) == ["a\u2028b", "\u2028c"]


def test_patterns_find_files_in_order_each_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b", "a", "deep/c"):
        write(tmp_path / f"{name}.txt", name[-1])
    write(tmp_path / "test.jsonl", [{"text": "t"}])
    splits = text_files(tmp_path, train=["b.txt", "**/*.txt"], test="test.jsonl").splits()
    assert texts(splits["train"]) == ["b\n", "a\n", "c\n"]


def test_a_folder_with_odd_characters_is_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "[x]*"
    folder.mkdir()
    write(folder / "a.txt", "a")
    write(folder / "b.txt", "b")
    task = text_files(folder, train="a*.txt", test="b.txt")
    assert texts(task.splits()["train"]) == ["a\n"]


def test_paths_start_at_the_spec_or_else_at_the_working_directory(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path / "a.txt", "a")
    write(tmp_path / "b.txt", "b")
    monkeypatch.chdir(tmp_path)
    here = TextFiles(train="a.txt", test="b.txt")
    monkeypatch.chdir("/")
    there = text_files(tmp_path, train="a.txt", test="b.txt")
    assert here == there
    again = TextFiles.model_validate(there.model_dump())  # as the step that reads them is given it
    assert texts(again.splits()["train"]) == ["a\n"]


def test_a_fraction_is_split_by_prompt_and_stays_when_files_grow(tmp_path: Path) -> None:
    records = [{"prompt": f"{i}?", "answer": str(a)} for i in range(500) for a in range(2)]
    write(tmp_path / "a.jsonl", records)
    splits = text_files(tmp_path, train="a.jsonl", test_fraction=0.2).splits()
    assert len(splits["train"]) + len(splits["test"]) == 1_000
    assert len(splits["test"]) == pytest.approx(200, abs=60)
    assert not {e.prompt for e in splits["train"]} & {e.prompt for e in splits["test"]}
    write(tmp_path / "a.jsonl", [*records, {"prompt": "new", "answer": "1"}])
    grown = text_files(tmp_path, train="a.jsonl", test_fraction=0.2).splits()
    assert set(splits["test"]) <= set(grown["test"])


def test_the_identity_is_the_content(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "a")
    write(tmp_path / "b.txt", "b")
    task = text_files(tmp_path, train="a.txt", test="b.txt")
    before = task.identity()
    json.dumps(before)
    assert task.identity() == before
    write(tmp_path / "b.txt", "c")
    assert task.identity()["train"] == before["train"]
    assert task.identity()["test"] != before["test"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"train": "none.txt", "test": "ok.txt"}, "there is no file .*/none.txt"),
        ({"train": "none*.txt", "test": "ok.txt"}, r"no file matches .*/none\*.txt"),
        ({"train": ".", "test": "ok.txt"}, "is a folder; name the files in it"),
        ({"train": "ok.csv", "test": "ok.txt"}, "ok.csv is neither a .txt nor a .jsonl file"),
        ({"train": [], "test": "ok.txt"}, "the list of files is empty"),
        ({"train": "ok.txt"}, "say what to test on"),
        ({"train": "ok.txt", "test": "ok.txt", "test_fraction": 0.1}, "say what to test on"),
        ({"train": "ok.txt", "test_fraction": 1}, "less than 1"),
        ({"train": "ok.txt", "test_fraction": 0.1, "separator": ""}, "at least 1 character"),
        ({"train": "ok.txt", "test_fraction": 0.1, "fields": {}}, "either `answer`"),
        ({"train": "ok.txt", "test_fraction": 0.1, "fields": {"text": "a", "answer": "b"}}, "either `answer`"),
        (
            {"train": "ok.txt", "test_fraction": 0.1, "fields": {"text": "a", "prompt": "b"}},
            "`text` is a whole example",
        ),
        ({"train": "ok.txt", "test_fraction": 0.1, "fields": {"text": "a{"}}, "is no template"),
        ({"train": "ok.txt", "test_fraction": 0.1, "fields": {"text": "{a!r}"}}, "is no template"),
        ({"train": "ok.txt", "test_fraction": 0.1, "fields": {"text": "{}"}}, "is no template"),
        ({"train": "ok.txt", "test_fraction": 0.1, "fields": {"text": "{{a}}"}}, "names no field"),
        ({"train": "ok.txt", "test_fraction": 0.1, "fields": {"txt": "a"}}, "Extra inputs"),
        ({"train": "ok.txt", "test_fraction": 0.1, "graded_by": "luck"}, "'exact', 'number' or 'program'"),
    ],
)
def test_parameters_that_cannot_be_meant(tmp_path: Path, params: Any, message: str) -> None:
    write(tmp_path / "ok.txt", "ok")
    write(tmp_path / "ok.csv", "ok")
    with pytest.raises(ValidationError, match=message):
        text_files(tmp_path, **params)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"caf\xe9", "a.txt: not UTF-8 text, from byte 3 on"),
        ("a.txt", "", "no examples for the split 'train' in .*/a.txt"),
        ("a.txt", " \n\n \n", "no examples for the split 'train' in .*/a.txt"),
        (
            "a.txt",
            "x\n\n\ntest\nb\n\n\nz\n\ntest",
            "test.txt:1: this example is to test on, but .*/a.txt:10 is the same",
        ),
        ("a.jsonl", '{"text": "a"}\n{"text": }\n', "a.jsonl:2:10: not JSON: Expecting value"),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "a.jsonl:2: a line must be a JSON object with fields, not a list"),
        ("a.jsonl", "[" * 100_000, "a.jsonl:1: not JSON that can be read"),
        ("a.jsonl", '{"text": ' + "9" * 5_000 + "}", "a.jsonl:1: not JSON that can be read"),
        (
            "a.jsonl",
            [{"text": "a"}, {"q": 1, "s": 2}],
            "a.jsonl:2: neither a field 'text' nor 'answer'; there are q, s",
        ),
        ("a.jsonl", [{}], "there are none: say which to use by `fields:`"),
        ("a.jsonl", [{"text": ["a"]}], "a.jsonl:1: the field 'text' is a list, not text"),
        ("a.jsonl", [{"text": True}], "the field 'text' is a bool, not text"),
        ("a.jsonl", [{"text": None}], "the field 'text' is null"),
        ("a.jsonl", [{"text": ""}], "a.jsonl:1: the text is empty"),
        ("a.jsonl", [{"prompt": "a", "answer": " "}], "a.jsonl:1: the answer is empty"),
        ("a.jsonl", '{"text": "\\ud800"}', "a.jsonl:1: the text has half of a surrogate pair"),
        ("a.jsonl", [{"text": "test\n"}], "test.txt:1: this example is to test on, but .*/a.jsonl:1 is the same"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: Any, message: str) -> None:
    write(tmp_path / name, content)
    write(tmp_path / "test.txt", "test")
    task = text_files(tmp_path, train=name, test="test.txt")
    with pytest.raises(UsageError, match=message):
        task.splits()


def test_a_field_that_a_line_lacks_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"q": "1", "a": "2"}, {"q": "1", "b": "2"}])
    task = text_files(tmp_path, train="a.jsonl", test_fraction=0.5, fields={"prompt": "q", "answer": "a"})
    with pytest.raises(UsageError, match=r"a.jsonl:2: no field 'a'; there are q, b"):
        task.splits()


def test_a_fraction_of_too_few_examples_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "only one")
    with pytest.raises(
        UsageError, match=r"no examples for the split 'test' in .*/a.txt, with a `test_fraction` of 0.01"
    ):
        text_files(tmp_path, train="a.txt", test_fraction=0.01).splits()


def test_a_file_that_goes_away_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "only one")
    task = text_files(tmp_path, train="a.txt", test_fraction=0.5)
    path.unlink()
    for use in (task.identity, task.splits):
        with pytest.raises(UsageError, match=r"a.txt: cannot be read: No such file"):
            use()


def test_answers_are_graded_as_asked(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "x")
    params = {"train": "a.txt", "test_fraction": 0.5}
    example = Example("q", "It is 18.", "18")
    assert text_files(tmp_path, **params).grade(" 18\n", example)
    assert not text_files(tmp_path, **params).grade("so 18", example)
    assert text_files(tmp_path, **params, graded_by="number").grade("so 18.0", example)
    assert text_files(tmp_path, **params, graded_by="program").grade("def f():\n    return 9 * 2", example)
