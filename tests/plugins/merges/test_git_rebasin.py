"""Averages of models whose units were first brought into the same places."""

from __future__ import annotations

from copy import deepcopy
from itertools import permutations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from compat_plugins.merges.git_rebasin import GitRebasin
from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import LAYOUTS
from compat_spec.nn.network import Network
from compat_spec.nn.permutations import axis_orders, match
from compat_spec.nn.symmetries import TABLES, Symmetry, Use, symmetries_of
from tests.builders import tiny_network
from tests.plugins.merges.studies import MadeUpStudy, checkpoint, merged

GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}
SIZES = {
    "gpt2": {"n_head": 4},
    "gpt_neox": {"num_attention_heads": 4},
    "opt": {"num_attention_heads": 4},
    **dict.fromkeys(sorted(set(TABLES) - {"gpt2", "gpt_neox", "opt"}), GROUPED),
}
EVERY = pytest.mark.parametrize("model_type", sorted(TABLES))


def network(model_type: str, seed: int = 0, **more: object) -> Network:
    made = tiny_network(model_type, seed=seed, blocks=2, width=16, **SIZES[model_type] | more)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in made.module.named_parameters():
            if name.endswith("bias") or "norm" in name or "ln_" in name:  # which are all alike at the start
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return made


def symmetries(of: Network) -> list[Symmetry]:
    return symmetries_of(of.module.config, {name: tensor.shape for name, tensor in checkpoint(of).items()})


def some_order(symmetry: Symmetry, seed: int) -> Tensor:
    """Groups in a random order, and the units of each as well."""
    generator = torch.Generator().manual_seed(seed)
    each = symmetry.size // symmetry.groups
    groups = torch.randperm(symmetry.groups, generator=generator)
    return torch.cat([group * each + torch.randperm(each, generator=generator) for group in groups])


def shuffled(of: Network, seed: int = 1, kinds: tuple[str, ...] = ("residual", "heads", "mlp")) -> Network:
    """The same network with its units in other places."""
    tensors = checkpoint(of)
    chosen = [symmetry for symmetry in symmetries(of) if symmetry.kind in kinds]
    orders = {symmetry.name: some_order(symmetry, seed + place) for place, symmetry in enumerate(chosen)}
    assert not any(order.equal(order.sort().values) for order in orders.values())
    copy = Network(deepcopy(of.module), of.tokenizer)
    own = dict(copy.module.named_parameters())
    with torch.no_grad():
        for (name, axis), order in axis_orders(chosen, orders, {n: t.shape for n, t in tensors.items()}).items():
            own[name].copy_(own[name].index_select(axis, order))
    return copy


def logits(of: Network | dict[str, Tensor], like: Network | None = None) -> Tensor:
    ids = torch.randint(0, 257, (2, 9), generator=torch.Generator().manual_seed(5))
    if isinstance(of, dict):
        assert like is not None
        module = deepcopy(like.module)
        module.load_state_dict(of, strict=False)
    else:
        module = deepcopy(of.module)
    with torch.no_grad():
        return module.double()(ids).logits


def rebasin(count: int = 2, **parameters: object) -> GitRebasin:
    return GitRebasin.model_validate({"models": [f"m{i}" for i in range(count)], **parameters})


def merge(networks: list[Network], **parameters: object) -> dict[str, Tensor]:
    return merged(rebasin(len(networks), **parameters), MadeUpStudy(networks), len(networks))


def test_the_architectures_whose_parts_are_known_are_known_here():
    assert TABLES.keys() == LAYOUTS.keys()


@EVERY
@pytest.mark.parametrize("kind", ["residual", "heads", "mlp"])
def test_other_places_change_the_tensors_and_not_what_is_computed(model_type, kind):
    original = network(model_type)
    moved = shuffled(original, kinds=(kind,))
    apart = [name for name, tensor in checkpoint(original).items() if not tensor.equal(checkpoint(moved)[name])]
    assert apart
    torch.testing.assert_close(logits(moved), logits(original), atol=1e-6, rtol=0)  # norms are computed in float32


@EVERY
def test_every_tensor_takes_part_in_some_symmetry_but_those_within_a_head(model_type):
    original = network(model_type)
    used = {use.tensor for symmetry in symmetries(original) for use in symmetry.uses}
    assert {name for name in checkpoint(original) if name not in used} == {
        name for name in checkpoint(original) if "q_norm" in name or "k_norm" in name
    }
    kinds = [symmetry.kind for symmetry in symmetries(original)]
    assert sorted(kinds) == ["heads", "heads", "mlp", "mlp", "residual"]


@EVERY
def test_a_model_with_its_units_in_other_places_is_brought_back_to_the_bit(model_type):
    original = network(model_type)
    moved = shuffled(original)
    result = merge([original, moved], weight=[0, 1])
    for name, tensor in checkpoint(original).items():
        assert result[name].equal(tensor), name
    # and it is the second model that was brought back
    assert any(not tensor.equal(result[name]) for name, tensor in checkpoint(moved).items())


@EVERY
def test_the_average_of_a_model_and_itself_in_other_places_is_the_model(model_type):
    original = network(model_type)
    result = merge([original, shuffled(original), shuffled(original, seed=20)])
    torch.testing.assert_close(logits(result, original), logits(original), atol=0, rtol=0)
    plain = {name: (tensor + checkpoint(shuffled(original))[name]) / 2 for name, tensor in checkpoint(original).items()}
    assert (logits(plain, original) - logits(original)).abs().max() > 0.01, "which a plain average is not"


@pytest.mark.parametrize("model_type", ["gpt2", "qwen2"])
def test_a_model_that_is_near_another_in_other_places_is_found(model_type):
    original, noise = network(model_type), network(model_type, seed=7)
    near = Network(deepcopy(original.module), original.tokenizer)
    with torch.no_grad():
        for parameter, other in zip(near.module.parameters(), noise.module.parameters(), strict=True):
            parameter.add_(other, alpha=0.2)
    result = merge([original, shuffled(near)], weight=[0, 1])
    assert all(tensor.equal(result[name]) for name, tensor in checkpoint(near).items())


@pytest.mark.parametrize("model_type", ["gpt2", "qwen3"])
def test_matching_never_takes_models_farther_apart_and_leaves_their_functions(model_type):
    one, two = network(model_type, seed=0), network(model_type, seed=1)

    def distance(tensors: dict[str, Tensor]) -> float:
        return sum(float((tensor - checkpoint(one)[name]).square().sum()) for name, tensor in tensors.items())

    placed = merge([one, two], weight=[0, 1])
    assert distance(placed) < 0.95 * distance(checkpoint(two))
    torch.testing.assert_close(logits(placed, two), logits(two), atol=1e-6, rtol=0)  # norms are computed in float32


def test_no_order_of_hidden_units_is_nearer_than_the_one_found():
    one, two = (tiny_network("gpt2", seed=seed, blocks=1, width=4, n_inner=5) for seed in (0, 1))
    placed = merge([one, two], weight=[0, 1], permute=["mlp"])
    names = {"c_fc.weight": 1, "c_fc.bias": 0, "c_proj.weight": 0}
    full = {f"transformer.h.0.mlp.{name}": axis for name, axis in names.items()}

    def distance(of: dict[str, Tensor], order: tuple[int, ...]) -> float:
        moved = {name: of[name].index_select(axis, torch.tensor(order)) for name, axis in full.items()}
        return sum(float((tensor - checkpoint(one)[name]).square().sum()) for name, tensor in moved.items())

    least = min(distance(checkpoint(two), order) for order in permutations(range(5)))
    assert distance(placed, tuple(range(5))) == pytest.approx(least)


@pytest.mark.parametrize("shared", [1, 2, 4])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_no_order_of_heads_is_nearer_than_the_one_found(shared, seed):
    one, two = (network("llama", seed=of, num_key_value_heads=shared) for of in (0, seed))
    placed = merge([one, two], weight=[0, 1], permute=["heads"])
    ours, theirs = checkpoint(one), checkpoint(two)
    each = 4 // shared
    # groups stay together: places of one group are taken by units of one group
    allowed = [
        order
        for order in permutations(range(4))
        if all(order[i] // each == order[i - i % each] // each for i in range(4))
    ]
    assert len(allowed) == {1: 24, 2: 8, 4: 24}[shared]
    for block in range(2):
        prefix = f"model.layers.{block}.self_attn."
        gap = {}
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            a, b = (of[f"{prefix}{name}.weight"].double().numpy() for of in (ours, theirs))
            a, b = (x.T if name == "o_proj" else x for x in (a, b))
            a, b = (x.reshape(-1, 4, 16) for x in (a, b))  # head, channel of the head, channel of the stream
            gap[name] = ((a[:, None] - b[None]) ** 2).sum((2, 3))
        query, common = gap["q_proj"] + gap["o_proj"], gap["k_proj"] + gap["v_proj"]
        least = min(
            sum(query[place, unit] for place, unit in enumerate(order))
            + sum(common[group, order[each * group] // each] for group in range(shared))
            for order in allowed
        )
        found = sum(
            float((placed[f"{prefix}{name}.weight"] - ours[f"{prefix}{name}.weight"]).double().square().sum())
            for name in gap
        )
        assert found == pytest.approx(least)


@pytest.mark.parametrize("seed", range(8))
def test_what_was_matched_cannot_be_matched_any_better(seed):
    # two layers of hidden units that hang on each other more than on what is fixed
    ends = (Use("in", 0, False, 1), Use("middle", 1, False, 1)), (Use("middle", 0, False, 1), Use("out", 1, False, 1))
    both = [Symmetry(name, "mlp", 7, 7, uses) for name, uses in zip("ab", ends, strict=True)]
    generator = torch.Generator().manual_seed(seed)
    shapes = {"in": (7, 1), "middle": (7, 7), "out": (1, 7)}
    one, two = ({name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} for _ in range(2))
    placed = dict(two)
    for (name, axis), order in axis_orders(both, match(one, two, both), shapes).items():
        placed[name] = placed[name].index_select(axis, order)
    assert axis_orders(both, match(one, placed, both), shapes) == {}


def test_what_is_not_to_be_permuted_stays():
    original = network("gpt2")
    moved = shuffled(original, kinds=("mlp",))
    result = merge([original, moved], weight=[0, 1], permute=["residual", "heads"])
    assert any(not tensor.equal(result[name]) for name, tensor in checkpoint(original).items())
    result = merge([original, moved], weight=[0, 1], permute=["mlp"])
    assert all(tensor.equal(result[name]) for name, tensor in checkpoint(original).items())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_a_checkpoint_of_a_bare_trunk_is_known_too(tied, prefix):
    names = [f"{prefix}h.0.attn.c_attn.weight", f"{prefix}wte.weight", *([] if tied else ["lm_head.weight"])]
    shapes = dict(zip(names, [(16, 48), (257, 16), (257, 16)], strict=False))
    found = {symmetry.name: symmetry for symmetry in symmetries_of(network("gpt2").module.config, shapes)}
    assert found.keys() == {"residual", "heads 0"}
    assert len(found["residual"].uses) == len(names)


def test_models_that_share_everything_are_averaged_as_they_are():
    one = network("qwen3")
    near = Network(deepcopy(one.module), one.tokenizer)
    with torch.no_grad():
        for parameter in near.module.parameters():
            parameter.mul_(1.01)
    study = MadeUpStudy([one, near])
    assert rebasin().study(study) == {}
    assert study.told[-1] == (5, 5)


def test_weights_are_those_of_the_average():
    one, two = network("gpt2"), network("gpt2", seed=1)
    placed = merge([one, two], weight=[0, 1])
    result = merge([one, two], weight=[3, 1])
    for name, tensor in checkpoint(one).items():
        torch.testing.assert_close(result[name], 0.75 * tensor + 0.25 * placed[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_are_brought_back_as_well(dtype):
    original = network("gpt2")
    original.module.to(dtype)
    result = merge([original, shuffled(original)], weight=[0, 1])
    assert all(tensor.equal(result[name]) for name, tensor in checkpoint(original).items())


def test_the_models_are_left_as_they_are():
    pair = [network("gpt2"), network("gpt2", seed=1)]
    before = [{name: tensor.clone() for name, tensor in checkpoint(of).items()} for of in pair]
    merge(pair)
    for of, was in zip(pair, before, strict=True):
        assert all(tensor.equal(was[name]) for name, tensor in checkpoint(of).items())


def test_architectures_and_tensors_that_are_not_known_are_refused():
    assert "leave a phi3 as it is are not known; those of gemma, " in (rebasin().misfit({"model_type": "phi3"}) or "")
    assert rebasin().misfit({"model_type": "qwen3"}) is None
    assert rebasin().misfit({}) is None
    config = network("llama").module.config
    with pytest.raises(CompatError, match=r"axes of \S+\.mlp\.router\.weight \[4, 16\] is not known of a llama"):
        symmetries_of(config, {"model.layers.0.mlp.router.weight": (4, 16)})
    config.model_type = "phi3"
    with pytest.raises(CompatError, match="phi3"):
        symmetries_of(config, {})


def test_tensors_that_are_not_finite_are_refused_by_name():
    one, two = network("gpt2"), network("gpt2", seed=1)
    with torch.no_grad():
        two.module.transformer.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    with pytest.raises(CompatError, match=r"transformer\.h\.1\.mlp\.c_fc\.weight has entries that are not finite"):
        rebasin().study(MadeUpStudy([one, two]))


def test_matching_is_the_same_each_time_and_says_how_far_it_is():
    one, two = network("gpt2"), network("gpt2", seed=1)
    told: list[tuple[int, int]] = []
    runs = [
        match(checkpoint(one), checkpoint(two), symmetries(one), progress=lambda *how: told.append(how))
        for _ in range(2)
    ]
    assert all(order.equal(runs[1][name]) for name, order in runs[0].items())
    assert set(told) == {(done, 5) for done in range(1, 6)}
    assert all(np.array_equal(order.sort().values, np.arange(len(order))) for order in runs[0].values())


@pytest.mark.parametrize(
    "wrong", [{"permute": []}, {"permute": ["neurons"]}, {"weight": [1, -1]}, {"weight": [1]}, {"t": 0.5}]
)
def test_parameters_without_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        rebasin(2, **wrong)
