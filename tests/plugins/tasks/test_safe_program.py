"""The evaluator of generated programs: right where Python is, and nothing but arithmetic."""

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compat_plugins.tasks.safe_program import ProgramError, evaluate


def program(*lines: str) -> str:
    return "\n".join(["def solution():", *(f"    {line}" for line in lines)]) + "\n"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (program("a = 3", "b = a * 4", "return b - 2"), 10),
        (program("a = 7", "a = a + 1", "return a"), 8),
        (program('"""A docstring."""', "# a comment", "return 1"), 1),
        (program("return 7 // 2 + 7 % 4 - 2 ** 3"), -2),
        (program("return -7 / 2"), -3.5),
        (program("return -(-2)"), 2),
        (program("return 2 ** -1"), 0.5),
        (program("return 1_000 * 1.5"), 1500.0),
        (program("return (1 +", "        2)"), 3),
        (program("return 5", "return 6"), 5),
        ("Here it is:\n" + program("return 5"), 5),
        ("```python\n" + program("return 5") + "```\n", 5),
        (program("return 5") + "\ndef other():\n    import os\n", 5),
        (program("return 5") + "import os\nos.system('true')\n", 5),
        (program("return 5") + "Question: what (", 5),
        (program("return 5", "# work out the", "x = = 3"), 5),
        (program("return 5", "x = (1 +"), 5),
        (program("a = 1", "return a").replace("\n", "\r\n"), 1),
        ("def other_name():\n    return 5", 5),
    ],
)
def test_programs_of_plain_arithmetic(text: str, result: float) -> None:
    assert evaluate(text) == result


HOSTILE = {
    "empty": "",
    "no function": "5",
    "only a call": "print(5)",
    "import": program("import os", "return 1"),
    "import from": program("from os import system", "return 1"),
    "call": program("return __import__('os').system('true')"),
    "builtin": program("return len((1, 2))"),
    "attribute": program("a = 1", "return a.real"),
    "dunder": program("return ().__class__.__bases__[0].__subclasses__()"),
    "subscript": program("return (1, 2)[0]"),
    "string": program("return 'a' * 10"),
    "bytes": program("return b'1'"),
    "f-string": program("return f'{1}'"),
    "truth value": program("return True"),
    "truth value within": program("return True + 1"),
    "none": program("return None"),
    "bare return": program("return"),
    "complex": program("return 1j"),
    "ellipsis": program("return ..."),
    "power tower": program("return 9 ** 9 ** 9 ** 9"),
    "large power": program("return 10 ** 101"),
    "power of a large number": program("a = 10 ** 99", "return a ** 99"),
    "root of a negative number": program("return (-1) ** 0.5"),
    "zero to a negative power": program("return 0 ** -1"),
    "tiny to a negative power": program("return 1e-99 ** -99"),
    "float power": program("return 1e99 ** 3.5"),
    "repeated squaring": program("a = 99999", *["a = a * a"] * 90, "return a"),
    "repeated powers": program("a = 9", *["a = a ** 9"] * 90, "return a"),
    "shift": program("return 1 << 10"),
    "bitwise": program("return 6 & 3"),
    "matrix product": program("return 2 @ 3"),
    "invert": program("return ~1"),
    "not": program("return not 1"),
    "comparison": program("return 1 < 2"),
    "and": program("return 1 and 2"),
    "conditional": program("return 1 if 1 else 2"),
    "division by zero": program("return 1 / 0"),
    "remainder by zero": program("return 1 % 0"),
    "floor division by zero": program("return 1 // 0.0"),
    "infinity": program("return 1e400"),
    "not a number": program("a = 1e308", "return a * 10 - a * 10"),
    "many digits": program("return " + "9" * 101),
    "absurdly many digits": program("return " + "9" * 4_900),
    "endless loop": program("while 1:", "    a = 1", "return 1"),
    "for loop": program("for i in range(10 ** 9):", "    a = i", "return 1"),
    "branch": program("if 1:", "    return 1", "return 2"),
    "recursion": program("return solution()"),
    "lambda": program("a = lambda: 1", "return a()"),
    "lambda uncalled": program("a = lambda: 1", "return 1"),
    "comprehension bomb": program("return [[i for i in range(10 ** 9)] for j in range(10 ** 9)]"),
    "generator": program("return sum(i for i in range(10 ** 9))"),
    "yield": program("yield 1", "return 1"),
    "await": "async def solution():\n    return 1\n",
    "nested function": program("def f():", "    return 1", "return 1"),
    "class": program("class A: pass", "return 1"),
    "walrus": program("return (a := 1)"),
    "unpacking": program("a, b = 1, 2", "return a"),
    "two targets": program("a = b = 1", "return a"),
    "augmented": program("a = 1", "a += 1", "return a"),
    "attribute target": program("a = 1", "a.b = 2", "return a"),
    "subscript target": program("a = 1", "a[0] = 2", "return a"),
    "global": program("global a", "a = 1", "return a"),
    "delete": program("a = 1", "del a", "return a"),
    "assert": program("assert 1", "return 1"),
    "raise": program("raise SystemExit"),
    "try": program("try:", "    return 1", "finally:", "    return 2"),
    "with": program("with open('x') as f:", "    return 1"),
    "late string": program("a = 1", "'text'", "return a"),
    "unknown name": program("return a"),
    "name of itself": program("a = a + 1", "return a"),
    "builtin name": program("return print"),
    "nothing returned": program("a = 1"),
    "cut off": program("a = 1", "return a + ").rstrip(),
    "cut name": program("apples = 1", "return app"),
    "no body": "def solution():\n",
    "only a comment": program("# nothing"),
    "parameters": "def solution(a):\n    return 1\n",
    "default parameters": "def solution(a=1):\n    return a\n",
    "star parameters": "def solution(*a):\n    return 1\n",
    "keyword parameters": "def solution(*, a=1):\n    return a\n",
    "indented": "  " + program("return 1"),
    "bad indent": "def solution():\n    a = 1\n      b = 2\n    return a\n",
    "deep parentheses": program("return " + "(" * 150 + "1" + ")" * 150 + " + a"),
    "very deep parentheses": program("return " + "(" * 2_000 + "1" + ")" * 2_000),
    "deep minus": program("return " + "-" * 4_900 + "1"),
    "deep minus, spaced": program("return " + "- " * 2_000 + "1"),
    "deep sum": program("return " + "1+" * 2_000 + "1"),
    "deep powers": program("return " + "1**" * 1_500 + "1"),
    "deep blocks": "def solution():\n" + "".join(" " * i + "if 1:\n" for i in range(1, 90)),
    "many statements": program(*["a = 1"] * 101, "return a"),
    "too long a text": program(*["# " + "x" * 90] * 100, "return 1"),
    "null byte": program("a = 1\0", "return a"),
    "null bytes": "\0" * 100,
    "surrogate": program("a = 1 # \ud800", "return a"),
    "other digits": program("return \u0661"),
    "type parameters": "def solution[T]():\n    return x\n",
    "semicolons": program("a = 1; import os; return a"),
    "unfinished string": program("'''", "return 1"),
    "form feed": "def solution():\f\n\f\n",
    "form of garbage": "def " * 1_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_everything_else_is_refused_at_once(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ProgramError):
        evaluate(text)
    assert time.process_time() - start < 0.5


@given(st.text(max_size=300))
def test_any_text_at_all_is_a_number_or_refused(text: str) -> None:
    for candidate in (text, program(text), program(f"return {text}")):
        with suppress(ProgramError):
            assert isinstance(evaluate(candidate), int | float)


EXPRESSIONS = st.recursive(
    st.integers(0, 99).map(str) | st.floats(0, 99, width=16).map(str),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner),
        st.builds("({} ** {})".format, inner, st.integers(-3, 3)),
        st.builds("-{}".format, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(EXPRESSIONS)
def test_arithmetic_agrees_with_python(expression: str) -> None:
    try:
        result = evaluate(program(f"a = {expression}", "return a"))
    except ProgramError:
        with pytest.raises(ArithmeticError):  # noqa: PT012
            found = eval(expression)
            if isinstance(found, complex) or not abs(found) <= 10**100:
                raise OverflowError from None
    else:
        assert result == eval(expression)
