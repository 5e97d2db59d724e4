"""Experts that run together, against calling them one by one in float64: values, gradients, and what is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from compat_spec.nn.anatomy import LAYOUTS, MlpForm
from compat_spec.nn.mixture import activations, weighing
from compat_spec.nn.mixture.modules import Experts
from tests.nn.test_mixture import experts

ROWS = 11
SPARSE = [torch.tensor(rows, dtype=torch.int64) for rows in ([0, 3, 4, 10], [1, 3], [])]


def mlps(model_type: str = "gpt2", **more: str) -> list[nn.Module]:
    found = [network.anatomy.mlp(0) for network in experts(3, model_type, blocks=1)]
    for mlp in found:
        mlp.requires_grad_(False)
    return found


def form_of(model_type: str) -> MlpForm | None:
    return LAYOUTS[model_type].mlp_form


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(parts: Sequence[nn.Module], x: Tensor, weights: Tensor, rows: Sequence[Tensor] | None) -> Tensor:
    """Token by token, expert by expert."""
    outputs = []
    for place, token in enumerate(x):
        total = torch.zeros_like(token)
        for number, part in enumerate(parts):
            if rows is None or place in rows[number]:
                total = total + weights[place, number] * part(token[None, None])[0, 0]
        outputs.append(total)
    return torch.stack(outputs)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four tokens, so that the last is a rest."""
    monkeypatch.setattr(weighing, "_CPU_ROWS", 4)


@pytest.mark.parametrize("model_type", sorted(LAYOUTS))
@pytest.mark.parametrize("rows", [None, SPARSE], ids=["all", "some"])
def test_values_and_gradients_are_those_of_a_loop_over_tokens(model_type: str, rows: Sequence[Tensor] | None) -> None:
    parts, g = mlps(model_type), draw(ROWS, 12, seed=2)
    together = Experts(parts, form_of(model_type))
    assert len(together._known) == 3
    results = []
    for way in (together.add_up, lambda x, w, rows: by_hand(parts, x, w, rows)):
        x, weights = draw(ROWS, 12).requires_grad_(), draw(ROWS, 3, seed=1).requires_grad_()
        output = way(x, weights, rows)
        output.backward(g)
        assert x.grad is not None
        assert weights.grad is not None
        results.append((output.detach(), x.grad, weights.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)
    assert results[0][0].abs().max() > 0.1


@pytest.mark.parametrize("rows", [None, SPARSE], ids=["all", "some"])
def test_weights_have_their_gradients_where_the_input_has_none(rows: Sequence[Tensor] | None) -> None:
    parts, x = mlps("gpt2"), draw(ROWS, 12)
    weights, again = (draw(ROWS, 3, seed=1).requires_grad_() for _ in range(2))
    Experts(parts, form_of("gpt2")).add_up(x, weights, rows).square().sum().backward()
    by_hand(parts, x, again, rows).square().sum().backward()
    torch.testing.assert_close(weights.grad, again.grad, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_constant_weights_have_no_gradient_and_their_input_has(model_type: str) -> None:
    parts, weights = mlps(model_type), [0.3, -1.0, 2.0]
    x, again = draw(ROWS, 12).requires_grad_(), draw(ROWS, 12).requires_grad_()
    together = Experts(parts, form_of(model_type)).add_up(x, weights)
    alone = by_hand(parts, again, torch.tensor([weights] * ROWS, dtype=torch.float64), None)
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-9)
    together.square().sum().backward()
    alone.square().sum().backward()
    torch.testing.assert_close(x.grad, again.grad, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("act", [nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.ReLU(), nn.Tanh(), nn.Identity()])
@pytest.mark.parametrize("gated", [False, True])
def test_every_activation_is_the_same_function(act: nn.Module, gated: bool) -> None:
    parts = mlps("llama" if gated else "gpt_neox")
    form = form_of("llama" if gated else "gpt_neox")
    assert form is not None
    for part in parts:
        part.set_submodule(form.act, copy.deepcopy(act))
    x, weights = draw(ROWS, 12).requires_grad_(), draw(ROWS, 3, seed=1).requires_grad_()
    torch.autograd.gradcheck(lambda x, w: Experts(parts, form).add_up(x, w), (x, weights))
    torch.testing.assert_close(Experts(parts, form).add_up(x, weights), by_hand(parts, x, weights, None))


def test_gelu_written_out_is_the_one_of_torch() -> None:
    for kind, known in activations._KNOWN.items():
        a, g = draw(300) * 4, draw(300, seed=1)
        given = a.clone().requires_grad_()
        value = kind()(given)
        value.backward(g)
        torch.testing.assert_close(known.value(a), value.detach(), atol=1e-15, rtol=1e-13)
        torch.testing.assert_close(known.backward(g, a), given.grad, atol=1e-14, rtol=1e-12)


def saved(run: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass, of each memory once."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(seen.values())


def test_little_is_kept() -> None:
    parts = mlps("gpt2")
    together = Experts(parts, form_of("gpt2"))
    x, weights = draw(ROWS, 12).requires_grad_(), draw(ROWS, 3, seed=1).requires_grad_()
    # what enters the activations, the outputs, and the weights
    assert saved(lambda: together.add_up(x, weights)) == 8 * ROWS * 3 * (48 + 12 + 1)
    # where the input has no gradient, as in the first block, outputs are enough
    assert saved(lambda: together.add_up(x.detach(), weights)) == 8 * ROWS * 3 * (12 + 1)
    assert saved(lambda: together.add_up(x, [0.1, 0.2, 0.7])) == 8 * ROWS * 3 * 48
    with torch.no_grad():
        assert saved(lambda: together.add_up(x, weights)) == 0


def test_experts_that_are_trained_get_their_gradients() -> None:
    parts = mlps("gpt2")
    parts[1].requires_grad_(True)
    x, weights = draw(ROWS, 12), draw(ROWS, 3, seed=1)
    Experts(parts, form_of("gpt2")).add_up(x, weights).sum().backward()
    assert [any(p.grad is not None for p in part.parameters()) for part in parts] == [False, True, False]


def test_layers_that_are_not_plain_and_forms_that_are_not_known_are_called() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    parts = mlps("gpt_neox")
    parts[2].dense_4h_to_h = Doubled(48 // 2, 12, dtype=torch.float64).requires_grad_(False)
    x, weights = draw(ROWS, 12), draw(ROWS, 3, seed=1)
    expected = by_hand(parts, x, weights, None)
    torch.testing.assert_close(Experts(parts, form_of("gpt_neox")).add_up(x, weights), expected)
    torch.testing.assert_close(Experts(parts, None).add_up(x, weights), expected)
    some = by_hand(parts, x, weights, SPARSE)
    torch.testing.assert_close(Experts(parts, None).add_up(x, weights, SPARSE), some)


def test_dropout_is_done_once_to_the_sum() -> None:
    parts = mlps("gpt2")
    for part in parts:
        part.dropout.p = 0.5
    together = Experts(parts, form_of("gpt2"))
    x, weights = draw(ROWS, 12), draw(ROWS, 3, seed=1)
    whole = together.eval().add_up(x, weights)
    dropped = together.train().add_up(x, weights)
    kept = dropped != 0
    assert 0.3 < float(kept.double().mean()) < 0.7
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])


@pytest.mark.parametrize("model_type", ["gpt2", "qwen2"])
@pytest.mark.parametrize("rows", [None, SPARSE], ids=["all", "some"])
def test_bfloat16_under_autocast_stays_close(model_type: str, rows: Sequence[Tensor] | None) -> None:
    parts = [part.float() for part in mlps(model_type)]
    together = Experts(parts, form_of(model_type))
    results = []
    for enabled in (False, True):
        x, weights = draw(ROWS, 12).float().requires_grad_(), draw(ROWS, 3, seed=1).float().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = together.add_up(x, weights, rows)
        output.float().square().sum().backward()
        assert output.dtype == (torch.bfloat16 if enabled else torch.float32)
        assert x.grad is not None
        assert weights.grad is not None
        assert x.grad.dtype == weights.grad.dtype == torch.float32
        results.append((output.float(), x.grad, weights.grad))
    for exact, rough in zip(*results, strict=True):
        assert float((exact - rough).detach().norm() / exact.detach().norm()) < 0.02


def test_no_token_is_no_problem() -> None:
    together = Experts(mlps("gpt2"), form_of("gpt2"))
    x, weights = torch.zeros(0, 12, dtype=torch.float64, requires_grad=True), torch.zeros(0, 3, dtype=torch.float64)
    output = together.add_up(x, weights)
    output.sum().backward()
    assert output.shape == (0, 12)


def test_what_autocast_casts_is_kept_while_training_and_renewed_when_weights_change() -> None:
    parts = [part.float() for part in mlps("gpt2")]
    together, again = Experts(parts, form_of("gpt2")).train(), Experts(parts, form_of("gpt2")).train()
    x, weights = draw(ROWS, 12).float(), draw(ROWS, 3, seed=1).float()

    def run(of: Experts) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return of.add_up(x, weights)

    before = run(together)
    kept = [mlp.matrices(torch.bfloat16, keep=True) for mlp in together._known]
    assert all(one is mlp.matrices(torch.bfloat16, keep=True) for one, mlp in zip(kept, again._known, strict=True))
    assert run(again).equal(before)
    with torch.no_grad():
        parts[0].c_fc.weight.mul_(-1)
    assert not run(together).equal(before)
    assert kept[0] is not together._known[0].matrices(torch.bfloat16, keep=True)
    together.eval()
    assert not any(mlp.down in weighing._CASTS for mlp in together._known)
    run(together)
    assert not any(mlp.down in weighing._CASTS for mlp in together._known)
