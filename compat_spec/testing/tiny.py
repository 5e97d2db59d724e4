"""Small real networks, tokenizers and data, made on the spot."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
from tokenizers import Tokenizer as Tokenizers
from tokenizers import decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from compat_spec.components import Example
from compat_spec.nn.data import EncodedSplit, encode
from compat_spec.nn.network import Network, Tokenizer, seeded

END = "<|endoftext|>"


def byte_tokenizer() -> Tokenizer:
    """One token per byte of UTF-8, and the end of text: 257 tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizers(models.BPE(vocab={character: i for i, character in enumerate(alphabet)} | {END: 256}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made: Any = PreTrainedTokenizerFast  # it has no types
    tokenizer: Tokenizer = made(tokenizer_object=core, eos_token=END)
    return tokenizer


def tiny_config(model_type: str = "gpt2", *, blocks: int = 3, width: int = 16, context: int = 64, **more: Any) -> Any:
    """The config of a network of a few thousand parameters, of any architecture, without dropout."""
    if model_type == "gpt2":
        sizes: dict[str, Any] = {"n_layer": blocks, "n_embd": width, "n_head": 2, "n_positions": context}
        sizes |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    else:
        sizes = {
            "num_hidden_layers": blocks,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_attention_heads": 2,
            "max_position_embeddings": context,
        }
        if model_type == "opt":
            sizes |= {"ffn_dim": 2 * width, "word_embed_proj_dim": width, "dropout": 0.0}
            del sizes["intermediate_size"]
        elif model_type != "gpt_neox":
            sizes |= {"num_key_value_heads": 2, "head_dim": width // 2}
    special = {"bos_token_id": 256, "eos_token_id": 256, "pad_token_id": 256}
    return AutoConfig.for_model(model_type, vocab_size=257, **{**sizes, **special, **more})


def tiny_network(
    model_type: str = "gpt2", *, seed: int = 0, dtype: torch.dtype = torch.float32, **sizes: Any
) -> Network:
    """A random network on the byte tokenizer; another seed gives another network of the same shape."""
    opener: Any = AutoModelForCausalLM  # it has no types
    with seeded(seed):
        module = opener.from_config(tiny_config(model_type, **sizes))
    return Network(module.to(dtype).eval(), byte_tokenizer())


def tiny_experts(count: int = 2, **sizes: Any) -> list[Network]:
    """Networks that are one base but for their MLPs, as if each had been fine-tuned with `update: mlp`; frozen."""
    experts = [tiny_network(seed=0, **sizes) for _ in range(count)]
    for seed, expert in enumerate(experts):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for block in range(len(expert.anatomy.blocks)):
                for parameter in expert.anatomy.mlp(block).parameters():
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        expert.module.requires_grad_(False)
    return experts


def tiny_examples(count: int = 12) -> list[Example]:
    """Sums with their answers, each another one."""
    sums = ((number, 3 * number % 7) for number in range(count))
    return [Example(f"{a} + {b} = ", str(a + b), expected=str(a + b)) for a, b in sums]


@cache
def tiny_split(score: Literal["answer", "all"] = "all", count: int = 12) -> EncodedSplit:
    """Such examples as tokens of the byte tokenizer."""
    return encode(tiny_examples(count), byte_tokenizer(), score)
