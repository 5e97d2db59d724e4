"""Small real networks and tokenizers, made from a config on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as Tokenizers
from tokenizers import decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from compat_spec.nn.network import Network, Tokenizer, seeded
from compat_spec.run.session import Session

END = "<|endoftext|>"


def byte_tokenizer() -> Tokenizer:
    """One token per byte of UTF-8, and the end of text: 257 tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizers(models.BPE(vocab={character: i for i, character in enumerate(alphabet)} | {END: 256}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END)


def tiny_config(model_type: str = "gpt2", *, blocks: int = 3, width: int = 16, context: int = 64, **more: Any) -> Any:
    """The config of a network of a few thousand parameters, of any architecture, without dropout."""
    if model_type == "gpt2":
        sizes = {"n_layer": blocks, "n_embd": width, "n_head": 2, "n_positions": context}
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
    with seeded(seed):
        module = AutoModelForCausalLM.from_config(tiny_config(model_type, **sizes))
    return Network(module.to(dtype).eval(), byte_tokenizer())


def undisturbed_session(folder: Path, save: Callable[[Path], None] = lambda _: None) -> Session:
    """The session of a training that nobody stops, and that saves nothing in between."""
    return Session(
        folder,
        seed=0,
        device="cpu",
        save=save,
        tell=lambda *_: None,
        stopping=lambda: False,
        checkpoint_every=float("inf"),
    )
