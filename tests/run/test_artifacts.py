"""What a run leaves in the store: folders that transformers opens, and composed modules that open again."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from compat_spec.run.networks import Networks
from compat_spec.store import ArtifactRef
from tests.run.experiments import Workplace

IDS = torch.arange(40).view(2, 20)


def logits(place: Workplace, label: str) -> torch.Tensor:
    with torch.no_grad():
        return Networks(place.store).open(ArtifactRef(place.fingerprint(label)), "cpu").logits(IDS)


@pytest.mark.parametrize("label", ["start of base", "train base", "train one", "merge average"])
def test_a_model_is_a_folder_that_transformers_opens(once: Workplace, label: str) -> None:
    folder = once.store.path(once.fingerprint(label))
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("def f(): return 12")["input_ids"]) == "def f(): return 12"
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(IDS).logits, logits(once, label), rtol=0, atol=0)


def test_a_checkpoint_is_a_folder_inside_that_of_its_training(once: Workplace) -> None:
    whole = once.store.path(once.fingerprint("train one"))
    start, half, end = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()
        for folder in (once.store.path(once.fingerprint("train base")), whole / "step-3", whole)
    )
    moved = {name for name in half if not torch.equal(half[name], start[name])}
    assert moved
    assert all(".mlp." in name for name in moved), "update: mlp changes MLPs only"
    assert {name for name in end if not torch.equal(end[name], half[name])} == moved


def test_the_average_of_weights_lies_half_way(once: Workplace) -> None:
    one, two, average = (
        AutoModelForCausalLM.from_pretrained(once.store.path(once.fingerprint(label))).state_dict()
        for label in ("train one", "train two", "merge average")
    )
    for name, tensor in average.items():
        torch.testing.assert_close(tensor.double(), (one[name].double() + two[name].double()) / 2, rtol=0, atol=1e-7)


def test_a_routed_module_opens_again_with_the_routers_that_were_trained(once: Workplace) -> None:
    label = "merge router"
    first, second = logits(once, label), logits(once, label)
    assert torch.equal(first, second)
    folder = once.store.path(once.fingerprint(label))
    routers = load_file(folder / "trained.safetensors")
    assert {tuple(weight.shape) for weight in routers.values()} == {(2, 16)}
    assert len(routers) == 2, "the experts are not stored again"
    assert once.store.manifest(once.fingerprint(label)).size < 10_000


def test_the_ensemble_averages_the_probabilities_of_its_models(once: Workplace) -> None:
    labels = ("train one", "train two", "merge ensemble")
    one, two, both = (logits(once, label).double().softmax(-1) for label in labels)
    torch.testing.assert_close(both, (one + two) / 2, rtol=0, atol=1e-6)
