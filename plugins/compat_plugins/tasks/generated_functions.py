"""Generates short Python functions of arithmetic assignments: the laptop's counterpart of tinycodes."""

from __future__ import annotations

import random

_VERBS = "add calculate compute count derive estimate find get make measure solve update"
_QUANTITIES = """
amount area average balance base bonus budget capacity change charge cost days depth discount distance duration fee
gain height hours income length level limit load loss margin minutes number offset pages payment points population
price profit quantity rate ratio salary score share size speed stock surface tax time total value volume wage weeks
weight width years
"""
VERBS, QUANTITIES = _VERBS.split(), _QUANTITIES.split()
OPERATORS = "+-*/+*"
COMMENTS = ("compute", "find", "update", "work out")


def generate(rng: random.Random) -> str:
    """One function: it assigns numbers, or takes parameters, combines them step by step, and returns the last."""
    names = rng.sample(QUANTITIES, rng.randint(3, 6))
    given = rng.randint(2, len(names) - 1)
    name = f"{rng.choice(VERBS)}_{names[-1]}"
    if rng.random() < 0.4:
        lines = [f"def {name}({', '.join(names[:given])}):"]
    else:
        lines = [f"def {name}():"]
        lines += [f"    {known} = {rng.randint(2, 10 ** rng.randint(1, 4))}" for known in names[:given]]
    for i in range(given, len(names)):
        if rng.random() < 0.3:
            lines.append(f"    # {rng.choice(COMMENTS)} the {names[i]}")
        lines.append(f"    {names[i]} = {_expression(names[:i], rng)}")
    return "\n".join([*lines, f"    return {names[-1]}\n"])


def _expression(known: list[str], rng: random.Random) -> str:
    a, b = rng.sample(known, 2)
    if rng.random() < 0.15:
        return f"{rng.randint(2, 9)} * {a}"
    return f"{a} {rng.choice(OPERATORS)} {b}"
