"""Linear layers that answer like those of the models on their inputs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from compat_plugins.merges.regmean import RegMean
from compat_spec.errors import CompatError
from compat_spec.nn.gram import InputGram, input_grams, regression_mean
from compat_spec.nn.merging import merge_tensor
from compat_spec.nn.network import Network
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.windows import spread_windows
from tests.builders import byte_tokenizer, tiny_network
from tests.plugins.merges.studies import MadeUpStudy, checkpoint, merged, text

A, B = text("the quick brown fox jumps", "over"), text("12 + 30 = 42", "7 * 6 = 42", prompt="calculate ")
CONTEXT = 12


def regmean(**parameters: object) -> RegMean:
    return RegMean.model_validate({"models": ["one", "two"], "on": "a", "context": CONTEXT, **parameters})


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gram(inputs: Tensor, axis: int) -> InputGram:
    return InputGram(inputs.T @ inputs, axis)


def stacked(inputs: list[Tensor], weights: list[Tensor]) -> np.ndarray:
    """The `[in, out]` weight that fits the answers of all layers on their inputs, by least squares on all rows."""
    rows = torch.cat(inputs)
    answers = torch.cat([x @ w for x, w in zip(inputs, weights, strict=True)])
    return np.linalg.lstsq(rows.numpy(), answers.numpy(), rcond=None)[0]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_entries_of_the_grams_give_the_least_squares_fit(axis, dtype):
    inputs = [random(20, 5, seed=seed) for seed in range(3)]
    weights = [random(5, 5, seed=10 + seed).to(dtype) for seed in range(3)]  # square: only `axis` tells in from out
    expected = stacked(inputs, [weight.double() for weight in weights])
    given = weights if axis == 0 else [weight.T.contiguous() for weight in weights]
    result = regression_mean(given, [gram(x, axis) for x in inputs], alpha=1.0)
    assert result.dtype == dtype
    result = result if axis == 0 else result.T
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_alpha_scales_what_is_off_the_diagonal(alpha):
    inputs, weights = [random(9, 4, seed=s) for s in (0, 1)], [random(4, 3, seed=s) for s in (2, 3)]
    left, right = np.zeros((4, 4)), np.zeros((4, 3))
    for x, w in zip(inputs, weights, strict=True):
        g = (x.T @ x).numpy()
        g = alpha * g + (1 - alpha) * np.diag(np.diag(g))
        left, right = left + g, right + g @ w.numpy()
    result = regression_mean(weights, [gram(x, 0) for x in inputs], alpha)
    np.testing.assert_allclose(result.numpy(), np.linalg.solve(left, right), atol=1e-10)


@pytest.mark.parametrize("alpha", [0.9, 1.0])
def test_inputs_that_are_always_zero_leave_their_weights_at_the_mean(alpha):
    inputs, weights = [random(20, 4, seed=s) for s in (0, 1)], [random(4, 3, seed=s) for s in (2, 3)]
    for x in inputs:
        x[:, 2] = 0
    result = regression_mean(weights, [gram(x, 0) for x in inputs], alpha)
    torch.testing.assert_close(result[2], (weights[0] + weights[1])[2] / 2)
    kept = [0, 1, 3]
    expected = regression_mean([w[kept] for w in weights], [gram(x[:, kept], 0) for x in inputs], alpha)
    torch.testing.assert_close(result[kept], expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_fewer_inputs_than_dimensions_give_the_fit_that_is_nearest_to_the_mean(rows, seed):
    inputs = [random(rows, 7, seed=s) for s in (seed, seed + 1)]
    weights = [random(7, 3, seed=s) for s in (seed + 2, seed + 3)]
    result = regression_mean(weights, [gram(x, 0) for x in inputs], alpha=1.0)
    centre = (weights[0] + weights[1]) / 2
    size = torch.cat(inputs).norm(dim=0)  # each input measured by it, so that all are alike
    scaled = [size[:, None] * (weight - centre) for weight in weights]
    change = stacked([x / size for x in inputs], scaled) / size[:, None].numpy()  # lstsq has the least norm
    np.testing.assert_allclose(result.numpy(), centre.numpy() + change, atol=1e-7)
    for x, w in zip(inputs, weights, strict=True):
        torch.testing.assert_close(x @ result, x @ w, atol=1e-7, rtol=0)  # fewer rows than dimensions: all are met


@pytest.mark.parametrize("alpha", [0.9, 1.0])
def test_inputs_of_very_different_sizes_count_by_their_sizes(alpha):
    sizes = torch.tensor([1e-6, 1e-3, 1.0, 1e3, 1e6]).double()
    inputs, weights = [random(40, 5, seed=s) for s in (0, 1)], [random(5, 3, seed=s) for s in (2, 3)]
    plain = regression_mean(weights, [gram(x, 0) for x in inputs], alpha)
    scaled = [weight / sizes[:, None] for weight in weights]
    result = regression_mean(scaled, [gram(x * sizes, 0) for x in inputs], alpha)
    torch.testing.assert_close(result * sizes[:, None], plain, rtol=1e-9, atol=1e-9)


def test_layers_that_saw_nothing_but_zeros_are_averaged():
    weights, nothing = [random(4, 3, seed=s) for s in (2, 3)], InputGram(torch.zeros(4, 4).double(), 0)
    torch.testing.assert_close(regression_mean(weights, [nothing, nothing], 0.9), (weights[0] + weights[1]) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("alpha", [0.0, 0.9, 1.0])
def test_a_layer_merged_with_itself_is_itself_to_the_bit(dtype, alpha):
    weight, inputs = random(5, 3).to(dtype), [random(9, 5, seed=1), random(2, 5, seed=2)]
    result = regression_mean([weight, weight.clone()], [gram(x, 0) for x in inputs], alpha)
    assert result.equal(weight)


def inputs_of(network: Network, encoded, layer: str) -> Tensor:
    """Every row that a layer is fed, sequence by sequence, in float64."""
    rows: list[Tensor] = []
    network.module.double()
    handle = network.module.get_submodule(layer).register_forward_hook(lambda _, fed, __: rows.append(fed[0][0]))
    for start, stop in spread_windows(encoded, 256, CONTEXT):
        network.module(encoded.ids[None, start - 1 : stop - 1].long())
    handle.remove()
    return torch.cat(rows).detach()


LAYERS = {
    "gpt2": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
    "qwen3": ["self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj"],
}
BLOCK = {"gpt2": "transformer.h.1.", "qwen3": "model.layers.1."}


def networks(model_type: str, **sizes: object) -> list[Network]:
    return [tiny_network(model_type, seed=seed, blocks=2, width=8, **sizes) for seed in (0, 1)]


@pytest.mark.parametrize("encoded", [A, B])
@pytest.mark.parametrize("model_type", ["gpt2", "qwen3"])
def test_the_grams_are_those_of_all_rows_that_each_layer_is_fed(model_type, encoded):
    network = networks(model_type)[0]
    found = dict(input_grams(network, encoded, sequences=256, context=CONTEXT, device="cpu"))
    expected_layers = {name for name, part in network.module.named_modules() if hasattr(part, "weight")}
    by_name = {name: found[p] for name, p in network.module.named_parameters() if p in found}
    assert {name.removesuffix(".weight") for name in by_name} <= expected_layers
    for layer in (BLOCK[model_type] + name for name in LAYERS[model_type]):
        x = inputs_of(networks(model_type)[0], encoded, layer)
        of_layer = by_name[f"{layer}.weight"]
        assert of_layer.axis == (0 if model_type == "gpt2" else 1)
        torch.testing.assert_close(of_layer.matrix, x.T @ x / len(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_the_head_is_fitted_unless_it_is_tied_to_the_embeddings(tied):
    network = tiny_network("qwen3", blocks=1, width=8, tie_word_embeddings=tied)
    found = regmean(models=["one"]).study(MadeUpStudy([network], {"a": A}))
    assert ("0:1:lm_head.weight" in found) is not tied
    assert not [key for key in found if "embed_tokens" in key or "norm" in key]


def grams_of(network: Network, encoded=A) -> dict[str, InputGram]:
    names = {parameter: name for name, parameter in network.module.named_parameters()}
    return {names[w]: g for w, g in input_grams(network, encoded, sequences=256, context=CONTEXT, device="cpu")}


def test_layers_that_are_fed_alike_share_their_gram():
    found = grams_of(networks("qwen3")[0])
    attention = BLOCK["qwen3"] + "self_attn."
    q, k, o = (found[f"{attention}{name}_proj.weight"].matrix for name in "qko")
    assert q is k
    assert k is not o


@pytest.mark.parametrize("at_once", [1, 200, 600])
@pytest.mark.parametrize("model_type", ["gpt2", "qwen3"])
def test_grams_that_do_not_fit_into_memory_at_once_are_the_same(model_type, at_once, monkeypatch):
    network, told = networks(model_type)[0], []
    expected = grams_of(network)
    monkeypatch.setattr("compat_spec.nn.gram.AT_ONCE", at_once)
    monkeypatch.setattr(Network, "logits", lambda self, ids: told.append(ids) or self.module(ids).logits)
    found = grams_of(network)
    assert len(told) > len(spread_windows(A, 256, CONTEXT)), "it reads several times"
    assert found.keys() == expected.keys()
    assert all(gram.axis == expected[name].axis for name, gram in found.items())
    assert all(gram.matrix.equal(expected[name].matrix) for name, gram in found.items())


class Experts(nn.Module):
    """The first expert gets the first token of a sequence; the second gets none; what is beside gets all, now and then.

    `late` follows the layer before it from the second sequence on.
    """

    def __init__(self) -> None:
        super().__init__()
        names = ("every", "late", "first", "none")
        self.layers = nn.ModuleDict({name: nn.Linear(5, 3, bias=False) for name in names})
        self.embedding = nn.Embedding(257, 5)
        self.calls = 0

    def forward(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        x = self.embedding(input_ids)
        self.calls += 1
        answer = self.layers["every"](x)
        if self.calls > 1:
            answer = answer + self.layers["late"](x)
        self.layers["first"](x[0, :1])
        return SimpleNamespace(logits=answer)


def test_each_expert_has_the_gram_of_the_tokens_that_it_was_fed():
    module = Experts()
    module.config = SimpleNamespace(max_position_embeddings=CONTEXT)
    found = grams_of(Network(module, byte_tokenizer()))
    windows = spread_windows(A, 256, CONTEXT)
    fed = [module.embedding(A.ids[start - 1 : stop - 1].long()).detach().double() for start, stop in windows]
    rows = {"every": fed, "late": fed[1:], "first": [x[:1] for x in fed], "none": [fed[0][:0]]}
    assert len(fed) > 2
    for name, of in rows.items():
        x = torch.cat(of)
        expected = x.T @ x / sum(map(len, fed))
        torch.testing.assert_close(found[f"layers.{name}.weight"].matrix, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.9, 1.0])
def test_a_layer_that_only_one_model_fed_is_that_model_s(alpha):
    weights, inputs = [random(4, 3, seed=s) for s in (2, 3)], random(20, 4)
    nothing = InputGram(torch.zeros(4, 4).double(), 0)
    result = regression_mean(weights, [gram(inputs, 0), nothing], alpha)
    torch.testing.assert_close(result, weights[0], atol=1e-12, rtol=0)


def test_a_layer_that_is_tied_in_one_model_alone_is_averaged():
    one, two = random(2, 4, 4)
    found = {"0:1:w": gram(random(9, 4), 1).matrix}
    result = merge_tensor(regmean(), [one, two], None, TensorPlace("w", found=found))
    torch.testing.assert_close(result, (one + two) / 2)


@pytest.mark.parametrize("model_type", ["gpt2", "qwen3"])
def test_linear_layers_are_fitted_and_the_rest_is_averaged(model_type):
    pair = networks(model_type)
    study = MadeUpStudy(pair, {"a": A, "b": B})
    result = merged(regmean(on=["a", "b"], alpha=0.5), study, 2)
    fitted = {BLOCK[model_type] + name + ".weight" for name in LAYERS[model_type]}
    one, two = (checkpoint(network) for network in pair)
    for name in fitted:
        layer, axis = name.removesuffix(".weight"), 0 if model_type == "gpt2" else 1
        left: np.ndarray | float = 0.0
        right: np.ndarray | float = 0.0
        for network, encoded, weights in zip(networks(model_type), (A, B), (one, two), strict=True):
            x = inputs_of(network, encoded, layer)
            g = (x.T @ x / len(x)).numpy()
            g = 0.5 * g + 0.5 * np.diag(np.diag(g))
            weight = weights[name].double().numpy()
            left, right = left + g, right + g @ (weight if axis == 0 else weight.T)
        expected = np.linalg.solve(left, right)
        got = result[name].double().numpy()
        np.testing.assert_allclose(got if axis == 0 else got.T, expected, rtol=1e-3, atol=1e-5)
    for name in result:
        if "norm" in name or "ln_" in name or "bias" in name or "embed" in name or "wte" in name:
            torch.testing.assert_close(result[name], (one[name] + two[name]) / 2)
    assert study.told == sorted(study.told)
    assert study.told[-1][0] == study.told[-1][1]


def test_the_models_are_left_as_they_are():
    pair = networks("gpt2")
    before = [{name: tensor.clone() for name, tensor in checkpoint(network).items()} for network in pair]
    merged(regmean(), MadeUpStudy(pair, {"a": A}), 2)
    for network, was in zip(pair, before, strict=True):
        assert all(tensor.equal(was[name]) for name, tensor in checkpoint(network).items())
        assert not any(part._forward_pre_hooks for part in network.module.modules())


def test_a_model_that_cannot_compute_is_refused_by_name():
    good, bad = networks("gpt2")
    with torch.no_grad():
        bad.module.transformer.h[0].mlp.c_fc.bias[0] = float("nan")
    with pytest.raises(CompatError, match=r"inputs of transformer\.h\.0\.mlp\.c_proj\.weight of two is not"):
        regmean().study(MadeUpStudy([good, bad], {"a": A}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"on": ["a", "b", "c"]}, "3 entries of on for 2 models; give one per model"),
        ({"on": []}, "0 entries of on for 2 models"),
        ({"alpha": 1.5}, "less than or equal to 1"),
        ({"alpha": -0.1}, "greater than or equal to 0"),
        ({"sequences": 0}, "greater than or equal to 1"),
    ],
)
def test_parameters_without_sense_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        regmean(**wrong)
