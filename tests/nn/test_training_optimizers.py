"""Learning-rate schedules, and which parameters each optimizer takes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from compat_spec.errors import CompatError
from compat_spec.nn.optimizers import Optimizers, Schedule, block_matrices
from tests.builders import tiny_network


def test_the_learning_rate_rises_and_falls_as_a_cosine() -> None:
    schedule = Schedule("cosine", steps=110, warmup=10, final=0.1)
    assert [schedule.factor(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    for step in (10, 35, 60, 85, 109):
        cosine = math.cos(math.pi * (step - 10) / 100)
        assert schedule.factor(step) == pytest.approx(0.55 + 0.45 * cosine)
    assert schedule.factor(10) == 1.0
    assert schedule.factor(60) == pytest.approx(0.55)


def test_a_constant_learning_rate_stays_after_the_warm_up() -> None:
    schedule = Schedule("constant", steps=50, warmup=4, final=0.1)
    assert [schedule.factor(step) for step in (0, 3, 4, 49)] == pytest.approx([0.25, 1, 1, 1])


def test_a_warm_up_longer_than_the_training_never_ends() -> None:
    schedule = Schedule("cosine", steps=5, warmup=10, final=0.1)
    assert [schedule.factor(step) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert Schedule("cosine", steps=5, warmup=0, final=0.1).factor(0) == 1.0


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_muon_takes_the_matrices_inside_the_blocks_only(model_type: str) -> None:
    network = tiny_network(model_type, blocks=2)
    parameters = dict(network.module.named_parameters())
    names = block_matrices(parameters, network.anatomy.blocks)
    for name, parameter in parameters.items():
        inside = ".h." in name or ".layers." in name
        assert (name in names) == (inside and parameter.ndim == 2), name


def test_muon_without_matrices_in_the_blocks_is_refused() -> None:
    network = tiny_network()
    norms = {name: p for name, p in network.module.named_parameters() if "ln_" in name}
    with pytest.raises(CompatError, match="use optimizer: adamw"):
        block_matrices(norms, network.anatomy.blocks)


@pytest.mark.parametrize("shape", [(7, 5), (3, 11), (24, 96)])
def test_muon_takes_orthogonal_steps_in_float32(shape: tuple[int, int]) -> None:
    """After two steps, the same as by the formulas of Jordan et al. (2024) written out in float64."""
    generator = torch.Generator().manual_seed(sum(shape))
    start, *gradients = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    matrix = nn.Parameter(start.float())
    optimizers = Optimizers(
        {"matrix": matrix}, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, muon_names=frozenset({"matrix"}), muon_lr=0.02
    )
    expected, momentum = start, torch.zeros_like(start)
    for gradient in gradients:
        matrix.grad = gradient.float()
        optimizers.step(0.5)
        momentum = 0.95 * momentum + 0.05 * gradient
        x = 0.05 * gradient + 0.95 * momentum
        x = x / x.norm()
        for _ in range(5):
            gram = x @ x.T if shape[0] <= shape[1] else x.T @ x
            polynomial = 3.4445 * torch.eye(len(gram)) - 4.7750 * gram + 2.0315 * gram @ gram
            x = polynomial @ x if shape[0] <= shape[1] else x @ polynomial
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * max(1, shape[0] / shape[1]) ** 0.5 * x
    torch.testing.assert_close(matrix.detach().double(), expected, rtol=0, atol=2e-6)


def test_only_matrices_decay() -> None:
    parameters = {"matrix": nn.Parameter(torch.ones(3, 2)), "bias": nn.Parameter(torch.ones(3))}
    optimizers = Optimizers(parameters, lr=0.1, betas=(0.9, 0.95), weight_decay=0.5)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizers.step(1.0)
    torch.testing.assert_close(parameters["matrix"].detach(), torch.full((3, 2), 1 - 0.1 * 0.5))
    torch.testing.assert_close(parameters["bias"].detach(), torch.ones(3))


@pytest.mark.parametrize("muon_names", [frozenset(), frozenset({"matrix"}), frozenset({"matrix", "other"})])
def test_a_restored_state_takes_the_same_next_step(muon_names: frozenset[str]) -> None:
    def make() -> dict[str, nn.Parameter]:
        generator = torch.Generator().manual_seed(0)
        shapes = {"matrix": (4, 3), "other": (2, 5), "bias": (3,)}
        names = [name for name in shapes if muon_names != {"matrix", "other"} or name != "bias"]
        return {name: nn.Parameter(torch.randn(shapes[name], generator=generator)) for name in names}

    def steps(parameters: dict[str, nn.Parameter], optimizers: Optimizers, numbers: range) -> None:
        for number in numbers:
            for parameter in parameters.values():
                parameter.grad = torch.sin(parameter.detach() + number)
            optimizers.step(0.5)

    straight = make()
    settings = {"lr": 0.01, "betas": (0.9, 0.95), "weight_decay": 0.1, "muon_names": muon_names}
    steps(straight, Optimizers(straight, **settings), range(6))

    first = make()
    before = Optimizers(first, **settings)
    steps(first, before, range(2))
    second = {name: nn.Parameter(parameter.detach().clone()) for name, parameter in first.items()}
    after = Optimizers(second, **settings)
    after.restore({name: tensor.clone() for name, tensor in before.state().items()})
    steps(second, after, range(2, 6))
    for name in straight:
        assert torch.equal(straight[name], second[name])
