"""PyYAML's syntax errors in words that help somebody who does not know how YAML is parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

INDENTATION = "check the indentation: entries that belong together start in one column"

WORDS = (
    (r"mapping values are not allowed here", "this `:` cannot stand here", f"{INDENTATION}; quote text that has `: `"),
    (r"could not find expected ':'", "a key without `:`", "write `key: value`"),
    (r"expected <block end>, but found", "this does not belong to what stands above it", INDENTATION),
    (r"sequence entries are not allowed here", "a list entry (`- `) cannot stand here", INDENTATION),
    (r"block sequence entries are not allowed", "a list entry (`- `) cannot stand here", INDENTATION),
    (
        r"found undefined alias",
        "an alias (`*name`) without an anchor (`&name`) before it",
        "quote text that starts with `*`",
    ),
    (r"found duplicate anchor", "an anchor (`&name`) that is used twice", "give each anchor a name of its own"),
    (r"but found another document", "a second document (`---`)", "a spec is one document"),
    (
        r"found unknown escape character",
        "an unknown escape in double quotes",
        "write `\\\\` for a backslash, or use single quotes",
    ),
    (r"found unexpected end of stream", "a quoted text that does not end", "close the quotes"),
    (r"found unexpected document separator", "a quoted text that does not end", "close the quotes"),
    (r"but found '<stream end>'", "the file ends inside a list or a mapping", "close it with `]` or `}`"),
    (r"found undefined tag handle", "a tag (`!…`) that is not known", "quote text that starts with `!`"),
)


def syntax_problems(error: yaml.MarkedYAMLError, text: str) -> Iterator[tuple[yaml.Mark | None, str, str]]:
    """Where, what and what would be right, for the error that stopped the parser."""
    mark = error.problem_mark or error.context_mark
    problem = error.problem or ""
    if "'\\t'" in problem:
        yield from _tabs(text, mark)
        return
    if re.search(r"expected ',' or '[]}]'", problem):
        bracket = "]" if "']'" in problem else "}"
        opened = f" that is opened on line {error.context_mark.line + 1}" if error.context_mark else ""
        kind = "list" if bracket == "]" else "mapping"
        yield mark, f"the {kind}{opened} is not closed here", f"expected `,` or `{bracket}`"
        return
    if character := re.search(r"found character '(.)' that cannot start", problem):
        yield mark, f"a value cannot start with {character[1]}", "put it in quotes"
        return
    for pattern, what, advice in WORDS:
        if re.search(pattern, f"{error.context}: {problem}"):
            unclosed = "does not end" in what
            yield (error.context_mark if unclosed else None) or mark, what, advice
            return
    context = f" ({error.context})" if error.context else ""
    yield mark, f"this is not valid YAML: {problem}{context}", ""


def _tabs(text: str, first: yaml.Mark | None) -> Iterator[tuple[yaml.Mark | None, str, str]]:
    """Every line that is indented with tabs, not only the first, where the parser stopped."""
    advice = "YAML is indented with spaces"
    yield first, "a tab", advice
    for number, line in enumerate(text.splitlines()):
        blank = line[: len(line) - len(line.lstrip())]
        if "\t" in blank and line.strip() and (first is None or number > first.line):
            yield yaml.Mark("", 0, number, blank.index("\t"), None, 0), "a tab", advice
