"""The permutations that leave what a language model computes as it is, and the axes of its tensors that they permute.

Three kinds of units can change places: the channels of the residual stream, all through the model; the hidden units of
one block's MLP; the heads of one block's attention, as wholes, because rotary embeddings tell the channels of a head
apart. Where several query heads share a head of keys and values, they move together, and among themselves.

What is known of an architecture is a table: by the end of a tensor's name, what stands along each of its axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compat_spec.errors import CompatError
from compat_spec.nn.block_names import in_block

Kind = Literal["residual", "heads", "mlp"]


@dataclass(frozen=True, slots=True)
class Axis:
    """What stands along an axis of a tensor.

    Attributes:
        kind: what it is made of; None is what cannot be permuted.
        shared: for heads: whether there is one for each head of keys and values, not one for each query head.
        parts: how many stretches of all units follow one another, as in a joint projection to queries, keys and values.
    """

    kind: Kind | None
    shared: bool = False
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Use:
    """An axis of a tensor that a symmetry permutes."""

    tensor: str
    axis: int
    shared: bool
    parts: int


@dataclass(frozen=True, slots=True)
class Symmetry:
    """Units that can change places.

    Attributes:
        name: `residual`, or such as `heads 3` of the block 3.
        size: how many units there are.
        groups: how many groups they form, of equal size, each of neighbours, that stay together; `size` where each
            unit goes its own way.
    """

    name: str
    kind: Kind
    size: int
    groups: int
    uses: tuple[Use, ...]


Table = Mapping[str, tuple[Axis, ...]]

_FIXED = Axis(None)
_RESIDUAL = Axis("residual")
_HIDDEN = Axis("mlp")
_HEADS = Axis("heads")
_SHARED_HEADS = Axis("heads", shared=True)


def _linear(name: str, outputs: Axis, inputs: Axis) -> Table:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _conv1d(name: str, inputs: Axis, outputs: Axis) -> Table:
    return {f"{name}.weight": (inputs, outputs), f"{name}.bias": (outputs,)}


def _norms(*names: str) -> Table:
    return {f"{name}.{part}": (_RESIDUAL,) for name in names for part in ("weight", "bias")}


def _embeddings(*names: str) -> Table:
    return {f"{name}.weight": (_FIXED, _RESIDUAL) for name in names}


_GPT2: Table = {
    **_embeddings("wte", "wpe", "lm_head"),
    **_norms("ln_1", "ln_2", "ln_f"),
    **_conv1d("attn.c_attn", _RESIDUAL, Axis("heads", parts=3)),
    **_conv1d("attn.c_proj", _HEADS, _RESIDUAL),
    **_conv1d("mlp.c_fc", _RESIDUAL, _HIDDEN),
    **_conv1d("mlp.c_proj", _HIDDEN, _RESIDUAL),
    "attn.bias": (_FIXED,) * 4,  # the causal mask that old checkpoints hold
    "attn.masked_bias": (),
}

_LLAMA: Table = {
    **_embeddings("embed_tokens", "lm_head"),
    **_norms("input_layernorm", "post_attention_layernorm", "norm"),
    **_norms("pre_feedforward_layernorm", "post_feedforward_layernorm"),
    **_linear("self_attn.q_proj", _HEADS, _RESIDUAL),
    **_linear("self_attn.k_proj", _SHARED_HEADS, _RESIDUAL),
    **_linear("self_attn.v_proj", _SHARED_HEADS, _RESIDUAL),
    **_linear("self_attn.o_proj", _RESIDUAL, _HEADS),
    "self_attn.q_norm.weight": (_FIXED,),  # of a head's channels, and the same for all heads
    "self_attn.k_norm.weight": (_FIXED,),
    **_linear("mlp.gate_proj", _HIDDEN, _RESIDUAL),
    **_linear("mlp.up_proj", _HIDDEN, _RESIDUAL),
    **_linear("mlp.down_proj", _RESIDUAL, _HIDDEN),
    "rotary_emb.inv_freq": (_FIXED,),
}

_GPT_NEOX: Table = {
    **_embeddings("embed_in", "lm_head", "embed_out"),
    **_norms("input_layernorm", "post_attention_layernorm", "final_layer_norm"),
    **_linear("attention.query_key_value", _HEADS, _RESIDUAL),  # a head's query, key and value are neighbours
    **_linear("attention.dense", _RESIDUAL, _HEADS),
    **_linear("mlp.dense_h_to_4h", _HIDDEN, _RESIDUAL),
    **_linear("mlp.dense_4h_to_h", _RESIDUAL, _HIDDEN),
    "attention.bias": (_FIXED,) * 4,
    "attention.masked_bias": (),
    "rotary_emb.inv_freq": (_FIXED,),
}

_OPT: Table = {
    **_embeddings("embed_tokens", "embed_positions", "lm_head"),
    **_norms("self_attn_layer_norm", "final_layer_norm"),
    **_linear("self_attn.q_proj", _HEADS, _RESIDUAL),
    **_linear("self_attn.k_proj", _HEADS, _RESIDUAL),
    **_linear("self_attn.v_proj", _HEADS, _RESIDUAL),
    **_linear("self_attn.out_proj", _RESIDUAL, _HEADS),
    **_linear("fc1", _HIDDEN, _RESIDUAL),
    **_linear("fc2", _RESIDUAL, _HIDDEN),
}

TABLES: Mapping[str, Table] = {
    "gpt2": _GPT2,
    "gpt_neox": _GPT_NEOX,
    "opt": _OPT,
    **dict.fromkeys(["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"], _LLAMA),
}
"""The architectures whose symmetries are known, by `model_type`."""


def unknown(model_type: str) -> str | None:
    """What to say of a model type whose symmetries are not known; None for one whose are."""
    if model_type in TABLES:
        return None
    return (
        f"the permutations that leave a {model_type} as it is are not known; those of {', '.join(sorted(TABLES))} are"
    )


def symmetries_of(config: Any, shapes: Mapping[str, Sequence[int]]) -> list[Symmetry]:
    """The symmetries of a model: that of the residual stream first, then block by block.

    Args:
        config: of a model of transformers.
        shapes: of the model's tensors, by their names in the checkpoint.

    Raises `CompatError` for an architecture, or a tensor of it, that is not in the table.
    """
    model_type = str(getattr(config, "model_type", None))
    reason = unknown(model_type)
    if reason is not None:
        raise CompatError(reason)
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    uses: dict[tuple[int, Kind], list[Use]] = {}
    sizes: dict[tuple[int, Kind], int] = {}
    for tensor, shape in shapes.items():
        place = in_block(tensor)
        for number, axis in enumerate(_axes(tensor, shape, TABLES[model_type], model_type)):
            if axis.kind is None:
                continue
            key = (-1 if axis.kind == "residual" or place is None else place.block, axis.kind)
            uses.setdefault(key, []).append(Use(tensor, number, axis.shared, axis.parts))
            sizes[key] = heads if axis.kind == "heads" else shape[number]
    return [
        Symmetry(
            name=kind if block < 0 else f"{kind} {block}",
            kind=kind,
            size=sizes[block, kind],
            groups=groups if kind == "heads" else sizes[block, kind],
            uses=tuple(uses[block, kind]),
        )
        for block, kind in sorted(uses)
    ]


def _axes(tensor: str, shape: Sequence[int], table: Table, model_type: str) -> tuple[Axis, ...]:
    parts = tensor.split(".")
    for start in range(len(parts)):  # the longest end of the name that is known
        axes = table.get(".".join(parts[start:]))
        if axes is not None and len(axes) == len(shape):
            return axes
    raise CompatError(f"what stands along the axes of {tensor} {list(shape)} is not known of a {model_type}")
