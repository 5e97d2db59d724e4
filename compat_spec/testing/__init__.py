"""The conformance kit: checks that a component keeps its contract, and tiny networks and data for tests of one's own.

One line in a test file is a test for each check::

    from compat_spec.testing import contract

    from my_merge import MyMerge

    test_contract = contract(MyMerge)

The names are imported when they are first used: neither torch nor pytest is, until they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_spec.lazy import lazily

if TYPE_CHECKING:
    from compat_spec.testing.checks import Check, ContractBroken, Outcome, checks_of, run_checks
    from compat_spec.testing.in_memory import (
        InMemoryComparison,
        InMemoryEvaluation,
        InMemorySession,
        InMemoryStudy,
        InMemoryTask,
    )
    from compat_spec.testing.parametrised import contract
    from compat_spec.testing.subject import Subject
    from compat_spec.testing.tiny import (
        byte_tokenizer,
        tiny_config,
        tiny_examples,
        tiny_experts,
        tiny_network,
        tiny_split,
    )

__all__ = [
    "Check",
    "ContractBroken",
    "InMemoryComparison",
    "InMemoryEvaluation",
    "InMemorySession",
    "InMemoryStudy",
    "InMemoryTask",
    "Outcome",
    "Subject",
    "byte_tokenizer",
    "checks_of",
    "contract",
    "run_checks",
    "tiny_config",
    "tiny_examples",
    "tiny_experts",
    "tiny_network",
    "tiny_split",
]

_HOMES = {
    "Check": "checks",
    "ContractBroken": "checks",
    "Outcome": "checks",
    "Subject": "subject",
    "checks_of": "checks",
    "run_checks": "checks",
    "contract": "parametrised",
    "InMemoryComparison": "in_memory",
    "InMemoryEvaluation": "in_memory",
    "InMemorySession": "in_memory",
    "InMemoryStudy": "in_memory",
    "InMemoryTask": "in_memory",
    "byte_tokenizer": "tiny",
    "tiny_config": "tiny",
    "tiny_examples": "tiny",
    "tiny_experts": "tiny",
    "tiny_network": "tiny",
    "tiny_split": "tiny",
}

__getattr__ = lazily(__name__, _HOMES)
