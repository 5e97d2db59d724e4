"""Makes examples out of records (lines of a JSONL file, rows of a data set) by the names of their fields."""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from compat_spec.components import Example


def _checked(template: str) -> str:
    try:
        parts = _parts(template)
    except ValueError as error:
        raise ValueError(f"{template!r} is no template: {error}; write {{{{ and }}}} for braces themselves") from None
    if not any(field for _, field in parts):
        raise ValueError(f"{template!r} names no field")
    return template


Column = Annotated[str, Field(min_length=1), AfterValidator(_checked)]
"""The name of a field, `question`; or a template with fields in braces, `"Question: {question}\\n"`."""


class RecordError(ValueError):
    """A record that cannot be made into an example; the message says why."""


class EmptyRecordError(RecordError):
    """A record with nothing to learn in it."""


class Columns(BaseModel):
    """Which fields of a record make an example: `text`, or `answer` with `prompt` before it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Column | None = Field(
        default=None,
        description='What comes before the answer: the name of a field, or a template such as "Question: {q}\\n". The '
        "two are joined as they are.",
    )
    answer: Column | None = Field(default=None, description="The answer: the name of a field, or a template.")
    expected: Column | None = Field(
        default=None, description="The final answer to grade by: the name of a field, or a template."
    )
    text: Column | None = Field(
        default=None,
        description="Plain text instead of prompt and answer: the name of a field, or a template.",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Columns:
        check_one_kind(self.prompt, self.answer, self.expected, self.text)
        return self

    def example(self, record: Mapping[str, Any]) -> Example:
        """The example of one record.

        Raises:
            RecordError: a field is missing, is not text, or leaves nothing to learn.
        """
        prompt = render(self.prompt, record) if self.prompt else ""
        answer = render(self.text or self.answer or "", record)
        if not answer.strip():
            raise EmptyRecordError("the text is empty" if self.text else "the answer is empty")
        return Example(prompt, answer, render(self.expected, record) if self.expected else None)


def check_one_kind(prompt: str | None, answer: str | None, expected: str | None, text: str | None) -> None:
    """Raises ValueError unless the fields are those of plain text, or those of an answer."""
    if (text is None) == (answer is None):
        raise ValueError("give either `answer` (with `prompt`), or `text`")
    if text is not None and (prompt is not None or expected is not None):
        raise ValueError("`text` is a whole example: with `prompt` or `expected`, give `answer` instead")


def render(template: str, record: Mapping[str, Any]) -> str:
    """A template filled with the fields of a record. Raises RecordError."""
    return "".join(literal + (_text_of(record, field) if field else "") for literal, field in _parts(template))


def _text_of(record: Mapping[str, Any], field: str) -> str:
    if field not in record:
        raise RecordError(f"no field {field!r}; there are {', '.join(map(str, record)) or 'none'}")
    found = record[field]
    if found is None:
        raise EmptyRecordError(f"the field {field!r} is null")
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        raise RecordError(f"the field {field!r} is a {type(found).__name__}, not text")
    return str(found)


@cache
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """What `template` consists of: text, and the field that follows it. A text without braces is one field."""
    if "{" not in template and "}" not in template:
        return (("", template),)
    parts = []
    for literal, field, format_spec, conversion in string.Formatter().parse(template):
        if field == "" or format_spec or conversion:
            raise ValueError("braces hold the name of a field and nothing else")
        parts.append((literal, field))
    return tuple(parts)
