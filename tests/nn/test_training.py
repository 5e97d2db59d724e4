"""Training: it learns, touches nothing else, and goes on after a stop as if there had been none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compat_spec.components import Example
from compat_spec.errors import CompatError, InterruptedRun
from compat_spec.nn.data import EncodedSplit, encode
from compat_spec.nn.network import Network
from compat_spec.nn.training import Recipe, select_parameters, train
from compat_spec.run.session import Session
from tests.builders import byte_tokenizer, tiny_network, undisturbed_session


def split(text: str, examples: int = 40) -> EncodedSplit:
    return encode([Example("", f"{text} {i}.") for i in range(examples)], byte_tokenizer(), "all")


DATA = {"a": split("one and two"), "b": split("x = y + z")}


class Stop:
    """A run that is told to stop after so many steps."""

    def __init__(self, after: int | None = None) -> None:
        self.after, self.done = after, 0

    def tell(self, done: int, _total: int, _note: str) -> None:
        self.done = done

    def __call__(self) -> bool:
        return self.after is not None and self.done >= self.after


def session(folder: Path, network: Network, stop: Stop | None = None, *, seed: int = 0) -> Session:
    stop = stop or Stop()

    def save(to: Path) -> None:
        save_file(tensors(network), to / "tensors")

    return Session(
        folder, seed=seed, device="cpu", save=save, tell=stop.tell, stopping=stop, checkpoint_every=float("inf")
    )


def tensors(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.module.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def recipe(**changes: Any) -> Recipe:
    settings: dict[str, Any] = {"shares": {"a": 1.0}, "steps": 8, "batch_size": 2, "context": 16, "warmup": 2}
    return Recipe(**settings | changes)


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [("gpt2", {}), ("llama", {"optimizer": "muon"}), ("gpt2", {"precision": "bfloat16"})],
)
def test_the_loss_falls(model_type: str, changes: dict[str, Any], tmp_path: Path) -> None:
    network = tiny_network(model_type)
    work = session(tmp_path, network)
    train(network, DATA, recipe(steps=60, batch_size=8, lr=1e-2, **changes), work)
    losses = work.facts["loss"]
    assert len(losses) == 50
    assert losses[0] > 5.3  # about log 257: it knows nothing yet
    assert losses[-1] < losses[0] - 2
    assert work.facts["steps"] == 60
    assert work.facts["tokens_per_second"] > 0


def test_the_first_loss_is_the_cross_entropy_of_the_network_that_it_started_from(tmp_path: Path) -> None:
    network = tiny_network()
    example = encode([Example("3 + 4 =", " 7")], byte_tokenizer(), "answer")
    ids = example.ids.long()
    # the window starts after the end of the text before, which for the first example is that of the last
    chances = network.logits(torch.cat([ids[-1:], ids[:-1]])[None]).double().log_softmax(-1)[0]
    by_hand = -torch.stack([chances[i, ids[i]] for i in range(len("3 + 4 ="), len(ids))]).mean()
    work = session(tmp_path, network)
    train(network, {"a": example}, recipe(steps=1, context=len(ids)), work)
    assert work.facts["loss"] == [pytest.approx(by_hand.item(), abs=1e-4)]


@pytest.mark.parametrize("update", ["mlp", "attention", r"h\.1\.(mlp|ln_2)"])
def test_what_is_not_updated_keeps_its_bits(update: str, tmp_path: Path) -> None:
    network = tiny_network()
    before = tensors(network)
    parts = {"mlp": ".mlp.", "attention": ".attn."}
    train(network, DATA, recipe(update=update), session(tmp_path, network))
    for name, tensor in tensors(network).items():
        chosen = parts[update] in name if update in parts else ".h.1.mlp" in name or ".h.1.ln_2" in name
        assert torch.equal(tensor, before[name]) != chosen, name


def test_it_leaves_the_network_frozen_and_in_evaluation_mode(tmp_path: Path) -> None:
    network = tiny_network()
    train(network, DATA, recipe(), session(tmp_path, network))
    assert not network.module.training
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in network.module.parameters())


def test_torch_s_random_numbers_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    network = tiny_network(resid_pdrop=0.5)
    train(network, DATA, recipe(), session(tmp_path, network))
    assert torch.equal(torch.rand(3), expected)


def test_seeds_give_different_networks_and_one_seed_the_same(tmp_path: Path) -> None:
    results = []
    for index, seed in enumerate((0, 0, 1)):
        network = tiny_network(resid_pdrop=0.2)
        train(network, DATA, recipe(), session(tmp_path / str(index), network, seed=seed))
        results.append(tensors(network))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


@pytest.mark.parametrize(
    ("sizes", "changes"),
    [
        ({}, {}),
        ({"resid_pdrop": 0.3, "attn_pdrop": 0.3}, {"update": "mlp"}),
        ({"resid_pdrop": 0.1}, {"optimizer": "muon", "accumulate": 2, "shares": {"a": 0.4, "b": 0.6}}),
        ({}, {"optimizer": "muon", "precision": "bfloat16", "schedule": "constant"}),
    ],
)
def test_a_training_that_was_stopped_ends_with_the_same_bits(
    sizes: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    what = recipe(steps=5, save_at=[0, 2, 5], **changes)
    straight = tiny_network(**sizes)
    work = session(tmp_path / "straight", straight)
    train(straight, DATA, what, work)
    for stop_after in (1, 2, 4):
        folder = tmp_path / f"stopped-{stop_after}"
        stopped = tiny_network(**sizes)
        with pytest.raises(InterruptedRun):
            train(stopped, DATA, what, session(folder, stopped, Stop(stop_after)))
        again = tiny_network(**sizes)
        work_again = session(folder, again)
        train(again, DATA, what, work_again)
        assert same(tensors(again), tensors(straight)), f"stopped after {stop_after}"
        assert work_again.facts["loss"] == work.facts["loss"]
        for step in (0, 2, 5):
            kept = [load_file(tmp_path / of / f"step-{step}/tensors") for of in ("straight", folder.name)]
            assert same(*kept)


def test_a_run_that_stops_again_and_again_gets_there(tmp_path: Path) -> None:
    straight = tiny_network()
    train(straight, DATA, recipe(steps=4), session(tmp_path / "straight", straight))
    for stop_after in (1, 2, 3):
        network = tiny_network()
        with pytest.raises(InterruptedRun):
            train(network, DATA, recipe(steps=4), session(tmp_path / "often", network, Stop(stop_after)))
    network = tiny_network()
    train(network, DATA, recipe(steps=4), session(tmp_path / "often", network))
    assert same(tensors(network), tensors(straight))


def test_an_interrupted_network_is_left_frozen(tmp_path: Path) -> None:
    network = tiny_network()
    with pytest.raises(InterruptedRun):
        train(network, DATA, recipe(), session(tmp_path, network, Stop(1)))
    assert not network.module.training
    assert not any(parameter.requires_grad for parameter in network.module.parameters())


def test_kept_steps_hold_the_network_of_that_step(tmp_path: Path) -> None:
    network = tiny_network()
    start = tensors(network)
    train(network, DATA, recipe(steps=3, save_at=[0, 1, 3], schedule="constant"), session(tmp_path, network))
    kept = {step: load_file(tmp_path / f"step-{step}/tensors") for step in (0, 1, 3)}
    assert same(kept[0], start)
    assert same(kept[3], tensors(network))
    one = tiny_network()
    train(one, DATA, recipe(steps=1, schedule="constant"), session(tmp_path / "one", one))
    assert same(kept[1], tensors(one))


def test_accumulating_is_a_larger_batch(tmp_path: Path) -> None:
    answers = {"a": encode([Example(f"{i} is", f" {i * i}") for i in range(20)], byte_tokenizer(), "answer")}
    results = []
    for accumulate, batch_size in ((1, 8), (2, 4), (8, 1)):
        network = tiny_network(dtype=torch.float64)
        what = recipe(accumulate=accumulate, batch_size=batch_size, weight_decay=0.0, clip=None)
        train(network, answers, what, session(tmp_path / str(accumulate), network))
        results.append(tensors(network))
    for other in results[1:]:
        for name, tensor in results[0].items():
            torch.testing.assert_close(other[name], tensor, rtol=0, atol=2e-4)


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    network = tiny_network()
    train(network, DATA, recipe(), session(tmp_path, network))
    module: Any = network.module
    assert module.lm_head.weight is module.transformer.wte.weight


def test_clipping_bounds_the_first_gradient(tmp_path: Path) -> None:
    moved = []
    for clip in (1e-9, None):
        network = tiny_network()
        before = tensors(network)
        what = recipe(steps=1, warmup=0, clip=clip, weight_decay=0.0)
        train(network, DATA, what, session(tmp_path / str(clip), network))
        moved.append(max((tensor - before[name]).abs().max().item() for name, tensor in tensors(network).items()))
    assert moved[0] < 0.2 * moved[1]  # Adam's epsilon shows once the gradient is as small as it


def test_a_loss_that_is_no_number_says_what_to_try(tmp_path: Path) -> None:
    network = tiny_network()
    with torch.no_grad():
        next(network.module.parameters()).fill_(float("nan"))
    with pytest.raises(CompatError, match=r"loss became nan in step 1.*lower lr than 0\.001.*warmup"):
        train(network, DATA, recipe(), session(tmp_path, network))


def test_an_expression_that_matches_nothing_names_some_parameters() -> None:
    with pytest.raises(CompatError, match=r"update: ffn selects none.*transformer\."):
        select_parameters(tiny_network(), "ffn")


def test_half_precision_parameters_are_refused() -> None:
    with pytest.raises(CompatError, match=r"bfloat16, too coarse.*dtype: float32"):
        select_parameters(tiny_network(dtype=torch.bfloat16), "mlp")


def test_a_context_beyond_the_network_s_is_refused(tmp_path: Path) -> None:
    network = tiny_network(context=32)
    with pytest.raises(CompatError, match="33 tokens is more than the 32"):
        train(network, DATA, recipe(context=33), session(tmp_path, network))


class Gated(nn.Module):
    """A composed module: two frozen networks, and a gate that is trained."""

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a.requires_grad_(False), b.requires_grad_(False)
        self.gate = nn.Parameter(torch.zeros(()))
        self.spare = nn.Parameter(torch.ones(2))

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        share = self.gate.sigmoid()
        out = self.a(input_ids=input_ids)
        out.logits = share * out.logits + (1 - share) * self.b(input_ids=input_ids).logits
        return out


def test_of_a_composed_module_only_what_it_declares_is_trained(tmp_path: Path) -> None:
    module = Gated(tiny_network(seed=0).module, tiny_network(seed=1).module)
    network = Network(module, byte_tokenizer())
    before = tensors(network)
    declared: list[set[str]] = []

    def save(_: Path) -> None:
        declared.append({name for name, parameter in module.named_parameters() if parameter.requires_grad})

    work = undisturbed_session(tmp_path, save)
    train(network, DATA, recipe(update="gate", lr=0.1, save_at=[2]), work)
    assert {name for name, tensor in tensors(network).items() if not torch.equal(tensor, before[name])} == {"gate"}
    assert declared == [{"gate", "spare"}], "what is stored of it does not depend on what is updated"


def test_a_composed_module_without_trainable_parameters_is_refused() -> None:
    module = Gated(tiny_network(seed=0).module, tiny_network(seed=1).module).requires_grad_(False)
    with pytest.raises(CompatError, match="there is nothing to train"):
        select_parameters(Network(module, byte_tokenizer()), "all")


class Asking(nn.Module):
    """A network that asks for something to be added to its loss: the square of a gate."""

    def __init__(self, network: Network, weight: float) -> None:
        super().__init__()
        self.inner = network.module.requires_grad_(False)
        self.config = network.module.config
        self.transformer, self.lm_head = network.module.transformer, network.module.lm_head
        self.gate = nn.Parameter(torch.tensor([0.5]))
        self.weight = weight

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> Any:
        output = self.inner(input_ids=input_ids, use_cache=use_cache)
        output.logits = output.logits * (1 + self.gate)
        return output

    def auxiliary_loss(self) -> Tensor:
        return self.weight * self.gate.square().sum()


def test_what_a_part_asks_for_is_added_and_recorded_apart(tmp_path: Path) -> None:
    gates, facts = [], []
    for number, (weight, accumulate) in enumerate([(0.0, 1), (100.0, 1), (100.0, 4)]):
        network = Network(Asking(tiny_network(dtype=torch.float64), weight), byte_tokenizer())
        what = recipe(steps=1, lr=1e-2, warmup=0, batch_size=4 // accumulate, accumulate=accumulate, clip=None)
        work = session(tmp_path / str(number), network)
        train(network, DATA, what, work)
        gates.append(float(network.module.gate.detach()))
        facts.append(work.facts)
    assert facts[0]["loss"] == facts[1]["loss"] == facts[2]["loss"]  # the cross-entropy alone
    assert "auxiliary_loss" not in facts[0]
    assert facts[1]["auxiliary_loss"] == facts[2]["auxiliary_loss"] == [25.0]
    assert gates[1] == pytest.approx(0.49)  # the first step of AdamW is lr against the sign of the gradient
    assert gates[1] == pytest.approx(gates[2])


def test_what_was_added_is_remembered_over_a_stop(tmp_path: Path) -> None:
    straight, stopped = (Network(Asking(tiny_network(), 2.0), byte_tokenizer()) for _ in range(2))
    work = session(tmp_path / "straight", straight)
    train(straight, DATA, recipe(), work)
    with pytest.raises(InterruptedRun):
        train(stopped, DATA, recipe(), session(tmp_path / "stopped", stopped, Stop(3)))
    again = Network(Asking(tiny_network(), 2.0), byte_tokenizer())
    work_again = session(tmp_path / "stopped", again)
    train(again, DATA, recipe(), work_again)
    assert work_again.facts["auxiliary_loss"] == work.facts["auxiliary_loss"]
    assert len(work.facts["auxiliary_loss"]) == 8
