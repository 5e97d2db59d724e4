"""Evaluates a short generated program of plain arithmetic over its syntax tree; nothing is ever executed.

A program is a function without parameters that assigns numbers to names and returns one:

    def solution():
        apples = 12
        # compute the answer
        result = apples * 3
        return result

Only `+ - * / // % **`, unary minus, numbers and names that were assigned before are known. Everything else, and
everything that would take long or grow large, is not a program.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Mapping
from typing import TypeAlias

Number: TypeAlias = int | float

MAX_CHARACTERS = 5_000
MAX_STATEMENTS = 100
MAX_DEPTH = 50
LARGEST = 10**100
MAX_EXPONENT = 100


class ProgramError(ValueError):
    """The text is not a program of plain arithmetic, or its numbers get too large."""


def evaluate(text: str) -> Number:
    """The number that the first function in `text` returns; what follows the function is ignored.

    Raises:
        ProgramError: there is no such function, or anything in it is not plain arithmetic.
    """
    names: dict[str, Number] = {}
    for count, statement in enumerate(_statements(text)):
        if count == MAX_STATEMENTS:
            raise ProgramError("too many statements")
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=expression):
                names[name] = value(expression, names)
            case ast.Return(value=ast.expr() as expression):
                return value(expression, names)
            case ast.Expr(value=ast.Constant(value=str())) if count == 0:
                pass  # a docstring
            case _:
                raise ProgramError(f"a statement of type {type(statement).__name__}")
    raise ProgramError("nothing is returned")


def value(expression: ast.expr, names: Mapping[str, Number], depth: int = 0) -> Number:
    """The value of one expression.

    Raises:
        ProgramError: it is not plain arithmetic of known names, or its numbers get too large.
    """
    if depth > MAX_DEPTH:
        raise ProgramError("too deeply nested")
    match expression:
        case ast.Constant(value=bool()):
            raise ProgramError("a truth value")
        case ast.Constant(value=int() | float() as number):
            return _bounded(number)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value(operand, names, depth + 1)
        case ast.BinOp(left=left, op=operator, right=right):
            return _operate(operator, value(left, names, depth + 1), value(right, names, depth + 1))
    raise ProgramError(f"an expression of type {type(expression).__name__}")


def _operate(operator: ast.operator, a: Number, b: Number) -> Number:
    try:
        match operator:
            case ast.Add():
                return _bounded(a + b)
            case ast.Sub():
                return _bounded(a - b)
            case ast.Mult():
                return _bounded(a * b)
            case ast.Div():
                return _bounded(a / b)
            case ast.FloorDiv():
                return _bounded(a // b)
            case ast.Mod():
                return _bounded(a % b)
            case ast.Pow():
                return _power(a, b)
    except ArithmeticError as error:
        raise ProgramError(str(error)) from None
    raise ProgramError(f"an operator of type {type(operator).__name__}")


def _power(a: Number, b: Number) -> Number:
    # checked before it is computed: 9 ** 9 ** 9 would fill the memory
    if abs(b) > MAX_EXPONENT or (abs(a) > 1 and abs(b) * math.log10(abs(a)) > 100):
        raise ProgramError("a power that is too large")
    power: Number | complex = a**b
    if isinstance(power, complex):
        raise ProgramError("the root of a negative number")
    return _bounded(power)


def _bounded(number: Number) -> Number:
    if not abs(number) <= LARGEST:  # so that NaN fails, too
        raise ProgramError("a number that is too large")
    return number


def _statements(text: str) -> list[ast.stmt]:
    """The statements of the first function."""
    source = _first_function(text[:MAX_CHARACTERS])
    try:
        tree = _parse(source)
    except SyntaxError as error:
        # a text that was cut off, or that goes on with something else behind its last statement
        tree = _parse_or_refuse("\n".join(source.split("\n")[: max(0, (error.lineno or 1) - 1)]))
    match tree.body:
        case [ast.FunctionDef(args=parameters, body=body)] if not any(
            found for _, found in ast.iter_fields(parameters)
        ):
            return body
    raise ProgramError("no function without parameters")


def _first_function(text: str) -> str:
    lines = text.replace("\r\n", "\n").split("\n")
    start = next((i for i, line in enumerate(lines) if line.startswith("def ")), None)
    if start is None:
        raise ProgramError("no function")
    end = next((i for i in range(start + 1, len(lines)) if lines[i] and not lines[i][0].isspace()), len(lines))
    return "\n".join(lines[start:end])


def _parse_or_refuse(source: str) -> ast.Module:
    try:
        return _parse(source)
    except SyntaxError as error:
        raise ProgramError(str(error)) from None


def _parse(source: str) -> ast.Module:
    """The syntax tree.

    Raises:
        SyntaxError: as `ast.parse` does.
        ProgramError: the parser refuses the text for another reason: null bytes, nesting, digits.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what is odd in the text
            return ast.parse(source)
    except SyntaxError:
        raise
    except (ValueError, RecursionError, MemoryError) as error:
        raise ProgramError(str(error)) from None
