"""Averages weighted by Fisher information."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from compat_plugins.merges.fisher import Fisher
from compat_spec.errors import CompatError
from compat_spec.nn.fisher import diagonal_fisher
from compat_spec.nn.merging import merge_tensor
from compat_spec.nn.network import Network
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.windows import Window, spread_windows
from tests.builders import tiny_network
from tests.plugins.merges.studies import MadeUpStudy, checkpoint, loss_of, merged, text

A, B = text("the quick brown fox jumps", "over"), text("12 + 30 = 42", "7 * 6 = 42", prompt="calculate ")
CONTEXT = 12


def fisher(**parameters: object) -> Fisher:
    return Fisher.model_validate({"models": ["one", "two"], "on": "a", "context": CONTEXT, **parameters})


def networks(model_type: str = "gpt2", dtype: torch.dtype = torch.float32, **sizes: object) -> list[Network]:
    return [tiny_network(model_type, seed=seed, blocks=2, width=8, dtype=dtype, **sizes) for seed in (0, 1)]


def by_backward(network: Network, encoded, windows: list[Window]) -> dict[str, torch.Tensor]:
    """The mean of the squares of the gradients that `backward` leaves, in float64."""
    module = network.module.double().requires_grad_(True)
    total = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    for start, stop in windows:
        module.zero_grad()
        loss_of(network, encoded, start, stop).backward()
        for name, parameter in module.named_parameters():
            total[name] += parameter.grad**2
    return {name: squares / len(windows) for name, squares in total.items()}


@pytest.mark.parametrize("model_type", ["gpt2", "qwen3"])
@pytest.mark.parametrize("encoded", [A, B])
@pytest.mark.parametrize("sequences", [1, 2, 100])
def test_the_information_is_the_mean_of_squared_gradients_of_each_sequence(model_type, encoded, sequences):
    network, same = (networks(model_type)[0] for _ in range(2))
    found = dict(diagonal_fisher(network, encoded, sequences=sequences, context=CONTEXT, device="cpu"))
    windows = spread_windows(encoded, sequences, CONTEXT)
    expected = by_backward(same, encoded, windows)
    for name, parameter in network.module.named_parameters():
        scale = float(expected[name].max())
        torch.testing.assert_close(found[parameter].double(), expected[name], rtol=1e-3, atol=1e-5 * scale)


def test_sequences_are_spread_over_the_split_and_have_something_to_score():
    assert spread_windows(A, 100, CONTEXT) == [Window(1, 13), Window(13, 25), Window(25, 31)]
    assert spread_windows(A, 2, CONTEXT) == [Window(1, 13), Window(13, 25)]
    assert spread_windows(text("a" * 99), 3, 10) == [Window(1, 11), Window(31, 41), Window(61, 71)]
    # the prompt of ten tokens, cut off by a context of four, is no sequence
    assert all(B.scored[start:stop].any() for start, stop in spread_windows(B, 100, 4))
    with pytest.raises(CompatError, match="no token to score"):
        spread_windows(text(""), 1, 4)


@pytest.mark.parametrize(("on", "tasks"), [("a", [A, A]), (["a", "b"], [A, B])])
@pytest.mark.parametrize("model_type", ["gpt2", "qwen3"])
def test_each_model_counts_by_its_information_on_its_task(model_type, on, tasks):
    pair = networks(model_type)
    study = MadeUpStudy(pair, {"a": A, "b": B})
    result = merged(fisher(on=on, weight=[1, 3], floor=1e-3), study, 2)
    windows = [spread_windows(task, 256, CONTEXT) for task in tasks]
    one, two = (by_backward(network, *of) for network, *of in zip(pair, tasks, windows, strict=True))
    assert result.keys() == one.keys()
    for name, tensor in result.items():
        a, b = one[name].clamp(min=1e-3), 3 * two[name].clamp(min=1e-3)
        expected = (a * checkpoint(pair[0])[name] + b * checkpoint(pair[1])[name]) / (a + b)
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-3, atol=1e-6)
    assert study.told == sorted(study.told)
    assert study.told[-1][0] == study.told[-1][1]


def test_tied_tensors_have_the_information_of_both_uses():
    tied = tiny_network("gpt2", blocks=1, width=8)
    loose = tiny_network("gpt2", blocks=1, width=8, tie_word_embeddings=False)
    loose.module.load_state_dict(tied.module.state_dict())
    windows = spread_windows(A, 256, CONTEXT)
    apart = {name: torch.zeros(257, 8).double() for name in ("transformer.wte.weight", "lm_head.weight")}
    module = loose.module.double().requires_grad_(True)
    expected = torch.zeros(257, 8).double()
    for start, stop in windows:
        module.zero_grad()
        loss_of(loose, A, start, stop).backward()
        expected += sum(dict(module.named_parameters())[name].grad for name in apart) ** 2 / len(windows)
    found = fisher(models=["one"]).study(MadeUpStudy([tied], {"a": A}))
    torch.testing.assert_close(found["0:transformer.wte.weight"].double(), expected, rtol=1e-3, atol=1e-6)


def test_the_models_are_left_as_they_are():
    pair = networks(dtype=torch.bfloat16)
    before = [{name: tensor.clone() for name, tensor in checkpoint(network).items()} for network in pair]
    result = merged(fisher(), MadeUpStudy(pair, {"a": A}), 2)
    assert {tensor.dtype for tensor in result.values()} == {torch.bfloat16}
    for network, was in zip(pair, before, strict=True):
        assert all(tensor.equal(was[name]) for name, tensor in checkpoint(network).items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_merged_with_itself_is_itself_to_the_bit(dtype):
    network = networks(dtype=dtype)[0]
    result = merged(fisher(on=["a", "b"]), MadeUpStudy([network, network], {"a": A, "b": B}), 2)
    assert all(tensor.equal(result[name]) for name, tensor in checkpoint(network).items())


def test_gradients_of_models_in_half_precision_are_those_of_float32():
    half = networks(dtype=torch.bfloat16)[0]
    single = networks(dtype=torch.bfloat16)[0]
    single.module.float()
    found, expected = (fisher(models=["one"]).study(MadeUpStudy([of], {"a": A})) for of in (half, single))
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert all(tensor.equal(expected[name]) for name, tensor in found.items())


def test_what_no_task_determines_and_what_is_no_parameter_is_averaged():
    one, two = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    tiny = {"0:w": torch.full((3, 4), 1e-20), "1:w": torch.zeros(3, 4)}
    for name in ("w", "other"):
        result = merge_tensor(fisher(weight=[1, 3]), [one, two], None, TensorPlace(name, found=tiny))
        torch.testing.assert_close(result, one / 4 + two * 3 / 4)


def test_pieces_are_weighted_by_their_own_information():
    one, two, a, b = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    place = TensorPlace("w", found={"0:w": a, "1:w": b})
    expected = ((a * one + b * two) / (a + b)).flatten()
    for start, stop in ((0, 4), (4, 15)):
        given = [tensor.flatten()[start:stop] for tensor in (one, two)]
        torch.testing.assert_close(fisher().combine(given, None, at=replace(place, start=start)), expected[start:stop])


def test_a_model_that_cannot_compute_is_refused_by_name():
    good, bad = networks()
    with torch.no_grad():
        bad.module.transformer.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    with pytest.raises(CompatError, match=r"Fisher information of transformer\.\S+ of two is not finite"):
        fisher().study(MadeUpStudy([good, bad], {"a": A}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"on": ["a"]}, "1 entries of on for 2 models; give one per model"),
        ({"on": None}, "on"),
        ({"weight": [1, 1, 1]}, "3 entries of weight for 2 models"),
        ({"weight": [1, -1]}, "greater than or equal to 0"),
        ({"weight": 0}, "add up to zero"),
        ({"floor": 0}, "greater than 0"),
        ({"sequences": 0}, "greater than or equal to 1"),
        ({"context": 1}, "greater than or equal to 2"),
    ],
)
def test_parameters_without_sense_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        fisher(**wrong)
