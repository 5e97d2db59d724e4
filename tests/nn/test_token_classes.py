"""Every token of a split is of one kind, and of the prompt or the answer."""

from __future__ import annotations

import pytest
import torch

from compat_spec.components import Example
from compat_spec.nn.data import encode
from compat_spec.nn.token_classes import KINDS, kind_of, token_classes
from tests.builders import byte_tokenizer


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (" the", "letters"),
        ("x1", "letters"),
        ("한", "letters"),
        (" 42", "digits"),
        ("3.", "digits"),
        ("½", "digits"),
        ("\n  ", "space"),
        ("", "space"),
        (" +=", "symbols"),
        ("\N{REPLACEMENT CHARACTER}", "bytes"),
    ],
)
def test_what_a_token_is_made_of(text, kind):
    assert kind_of(text) == kind


def test_each_token_has_one_kind_and_one_part():
    split = encode([Example("ab 1", "+2\n"), Example("", "é")], byte_tokenizer(), "all")
    names, members = token_classes(split, byte_tokenizer())
    found = ["".join("01"[is_of] for is_of in of_class) for of_class in members.T.tolist()]
    #                                          a b _ 1 + 2 \n end é é end
    assert dict(zip(names, found, strict=True)) == {
        "letters": "11000000000",
        "digits": "00010100000",
        "symbols": "00001000000",
        "space": "00100010000",
        "bytes": "00000000110",
        "special": "00000001001",
        "prompt": "11110000000",
        "answer": "00001111111",
    }
    kinds = members[:, [name in KINDS for name in names]]
    assert kinds.sum(1).eq(1).all()


def test_plain_text_has_no_parts_and_no_empty_classes():
    names, members = token_classes(encode([Example("", "ab")], byte_tokenizer(), "all"), byte_tokenizer())
    assert names == ("letters", "special")
    assert members.equal(torch.tensor([[True, False], [True, False], [False, True]]))
