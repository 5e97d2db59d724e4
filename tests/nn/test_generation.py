"""Greedy decoding takes the most probable token at each step, however prompts are batched and cached."""

from __future__ import annotations

import pytest
import torch
from tokenizers import decoders
from torch import Tensor, nn

from compat_spec.nn.generation import greedy_answers
from compat_spec.nn.network import Network
from tests.builders import byte_tokenizer, tiny_network

END = 256
ARCHITECTURES = ["gpt2", "gpt_neox", "llama", "qwen3", "mistral", "gemma", "opt"]


def outspoken_network(model_type: str = "gpt2", **sizes: object) -> Network:
    """A random network with large weights, so that what it says depends much on what it read."""
    network = tiny_network(model_type, **sizes)
    with torch.no_grad():
        for parameter in network.module.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    # one letter for each token, where bytes that are no UTF-8 would all be decoded to the same
    network.tokenizer.backend_tokenizer.decoder = decoders.Fuse()
    return network


def random_prompts(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (length,), generator=generator, dtype=torch.int32) for length in lengths]


def naive_answer(network: Network, prompt: Tensor, max_new_tokens: int) -> str:
    ids = prompt.tolist()
    with torch.no_grad():
        for _ in range(max_new_tokens):
            token = int(network.module(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token == END:
                break
            ids.append(token)
    return network.tokenizer.decode(ids[len(prompt) :])


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_answers_are_those_of_a_loop_over_one_prompt(model_type, cache):
    network = outspoken_network(model_type)
    prompts = random_prompts(3, 17, 40, 1, 9)
    answers = greedy_answers(network, prompts, 12, "cpu", batch=3, cache=cache)
    assert answers == [naive_answer(network, prompt, 12) for prompt in prompts]
    assert len(set(answers)) > 1


class Counting(nn.Module):
    """Says the token after the last; after some, the end of text."""

    def __init__(self, stop_after: int) -> None:
        super().__init__()
        self.stop_after = stop_after
        self.longest = 0

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> object:
        self.longest = max(self.longest, input_ids.shape[1])
        following = torch.where(input_ids == self.stop_after, END, (input_ids + 1) % 256)
        return type("Output", (), {"logits": nn.functional.one_hot(following, 257).float()})


def encoded(*texts: str) -> list[Tensor]:
    return [torch.tensor(byte_tokenizer()(text)["input_ids"]) for text in texts]


def test_any_module_that_gives_logits_can_answer_and_each_answer_ends_by_itself():
    (stop,) = encoded("g")[0].tolist()
    network = Network(Counting(stop), byte_tokenizer())
    assert greedy_answers(network, encoded("ab", "xxxxf", "g", "n"), 5, "cpu") == ["cdefg", "g", "", "opqrs"]


@pytest.mark.parametrize("cache", [True, False])
def test_the_end_of_text_stops_an_answer_and_not_its_neighbours(cache):
    network = outspoken_network()
    prompts = random_prompts(5, 9, 3, 14)
    free = greedy_answers(network, prompts, 10, "cpu", cache=cache)
    ending = free[1][4]
    network.tokenizer.eos_token = ending
    stopped = greedy_answers(network, prompts, 10, "cpu", cache=cache)
    assert stopped == [answer.partition(ending)[0] for answer in free]
    assert len(stopped[1]) < max(len(answer) for answer in stopped)


def test_a_prompt_loses_its_beginning_where_the_answer_needs_the_room():
    network = outspoken_network(context=32)
    (prompt,) = random_prompts(50)
    assert greedy_answers(network, [prompt], 8, "cpu") == [naive_answer(network, prompt[-24:], 8)]
    # a longer answer does not push out more than a quarter, and ends where the context does
    assert greedy_answers(network, [prompt], 30, "cpu") == [naive_answer(network, prompt[-24:], 8)]


@pytest.mark.parametrize("cache", [True, False])
def test_answers_end_where_the_context_does_each_at_its_own_time(cache):
    network = outspoken_network(context=16)
    prompts = random_prompts(12, 2, 7)
    answers = greedy_answers(network, prompts, 100, "cpu", cache=cache)
    assert answers == [naive_answer(network, prompt, 16 - len(prompt)) for prompt in prompts]


def test_no_new_tokens_no_prompts_and_empty_prompts():
    network = tiny_network()
    assert greedy_answers(network, random_prompts(3), 0, "cpu") == [""]
    assert greedy_answers(network, [], 5, "cpu") == []
    with pytest.raises(ValueError, match="no token to go on from"):
        greedy_answers(network, [torch.tensor([], dtype=torch.int32)], 5, "cpu")


def test_a_float64_network_answers_as_by_itself():
    network = outspoken_network("gemma", dtype=torch.float64, attn_implementation="eager")
    prompts = random_prompts(3, 11)
    assert greedy_answers(network, prompts, 6, "cpu") == [naive_answer(network, prompt, 6) for prompt in prompts]


def test_progress_counts_prompts():
    seen: list[tuple[int, int]] = []
    greedy_answers(
        tiny_network(), random_prompts(3, 4, 5), 2, "cpu", batch=2, progress=lambda *counts: seen.append(counts)
    )
    assert seen == [(2, 3), (3, 3)]
