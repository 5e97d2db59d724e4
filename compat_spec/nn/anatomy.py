"""Where the blocks, MLPs and attentions of a causal language model are, and surgery on its MLPs.

What is known of an architecture is data, a `Layout`, by the `model_type` of the model's config. Packages add their own
by an entry point of the group `compat.anatomies` whose name is the `model_type` and whose object is a `Layout`:

    [project.entry-points."compat.anatomies"]
    my_model = "my_package:LAYOUT"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from compat_spec.errors import CompatError

__all__ = ["GROUP", "Anatomy", "Layout", "MlpForm", "UnknownArchitecture", "anatomy_of", "frozen_copy"]

GROUP = "compat.anatomies"


@dataclass(frozen=True)
class MlpForm:
    """What an MLP computes, by the names of its modules: `down(act(up(x)))`, or `down(act(gate(x)) * up(x))`.

    The names are within the MLP; where a block has no module for its whole MLP, they are within the block.

    Attributes:
        up: from width to the inner size, a linear layer.
        act: what is applied to each number.
        down: from the inner size to width, a linear layer.
        gate: a second linear layer like `up`, where the MLP is gated (Shazeer, 2020, arXiv:2002.05202).
        dropout: what the MLP does to its output in training, where it does.
    """

    up: str
    act: str
    down: str
    gate: str | None = None
    dropout: str | None = None


GATED = MlpForm(gate="gate_proj", up="up_proj", act="act_fn", down="down_proj")
"""The MLP of llama and of what came after it."""


@dataclass(frozen=True)
class Layout:
    """The places of a model's parts, as dotted names: within the model, and of `mlp` and `attention` within a block.

    Attributes:
        mlp: one module `[..., width] -> [..., width]`, or the modules that the block calls one on another's output,
            in order, where it has none of its own for the whole MLP.
        final_norm: what stands between the last block and the head; a model may lack it.
        mlp_form: what the MLP computes. Experts of a known form run together, several times as fast as one by one.
    """

    blocks: str = "model.layers"
    mlp: str | tuple[str, ...] = "mlp"
    attention: str = "self_attn"
    final_norm: str = "model.norm"
    head: str = "lm_head"
    mlp_form: MlpForm | None = None

    @property
    def mlp_parts(self) -> tuple[str, ...]:
        return (self.mlp,) if isinstance(self.mlp, str) else self.mlp


LAYOUTS = {
    "gpt2": Layout(
        blocks="transformer.h",
        attention="attn",
        final_norm="transformer.ln_f",
        mlp_form=MlpForm(up="c_fc", act="act", down="c_proj", dropout="dropout"),
    ),
    "gpt_neox": Layout(
        blocks="gpt_neox.layers",
        attention="attention",
        final_norm="gpt_neox.final_layer_norm",
        mlp_form=MlpForm(up="dense_h_to_4h", act="act", down="dense_4h_to_h"),
    ),
    "llama": Layout(mlp_form=GATED),
    "mistral": Layout(mlp_form=GATED),
    "qwen2": Layout(mlp_form=GATED),
    "qwen3": Layout(mlp_form=GATED),
    "gemma": Layout(mlp_form=GATED),
    "gemma2": Layout(mlp_form=GATED),
    "gemma3_text": Layout(mlp_form=GATED),
    "opt": Layout(
        blocks="model.decoder.layers",
        mlp=("fc1", "activation_fn", "fc2"),
        final_norm="model.decoder.final_layer_norm",
        mlp_form=MlpForm(up="fc1", act="activation_fn", down="fc2"),
    ),
}
"""The layouts that are known without a plugin, by `model_type`."""


class UnknownArchitecture(CompatError):  # noqa: N818
    """A model whose parts cannot be found: nobody has registered a layout of its kind, or the layout does not fit."""


class Anatomy:
    """The parts of one model.

    Raises `UnknownArchitecture` when the layout names a module that the model does not have.
    """

    def __init__(self, module: nn.Module, layout: Layout) -> None:
        self.module = module
        self.layout = layout
        self._blocks: tuple[nn.Module, ...] = tuple(self._part(module, layout.blocks).children())
        for block in self._blocks:
            for name in (layout.attention, *layout.mlp_parts):
                self._part(block, name)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self._blocks

    def __len__(self) -> int:
        """How many blocks there are."""
        return len(self._blocks)

    @property
    def width(self) -> int:
        """The size of the residual stream."""
        config: Any = self.module.config
        return int(config.hidden_size)

    def mlp(self, block: int) -> nn.Module:
        """The MLP of a block, with the block's own parameters: `[..., width] -> [..., width]`."""
        parts = {name: self._blocks[block].get_submodule(name) for name in self.layout.mlp_parts}
        here = {name: part for name, part in parts.items() if not isinstance(part, _Nothing)}
        return next(iter(here.values())) if len(here) == 1 else _Chain(here)

    def attention(self, block: int) -> nn.Module:
        """The attention of a block. Its output may be a tuple that starts with the tensor `[batch, seq, width]`."""
        return self._blocks[block].get_submodule(self.layout.attention)

    @property
    def final_norm(self) -> nn.Module | None:
        """What stands between the last block and the head, where the model has it."""
        parent, _, name = self.layout.final_norm.rpartition(".")
        norm: nn.Module | None = getattr(self._part(self.module, parent), name, None)
        return norm

    @property
    def head(self) -> nn.Module:
        """From the residual stream to logits."""
        return self._part(self.module, self.layout.head)

    def with_mlps(self, mlps: Sequence[nn.Module]) -> nn.Module:
        """A frozen copy of the model that shares its tensors, with other MLPs, one per block, taken as they are."""
        return self.with_parts(mlps=mlps)

    def with_parts(
        self, *, mlps: Sequence[nn.Module] | None = None, attentions: Sequence[nn.Module] | None = None
    ) -> nn.Module:
        """The same, with other MLPs, other attentions, or both."""
        copy = frozen_copy(self.module)
        first, *others = self.layout.mlp_parts
        blocks = Anatomy(copy, self.layout).blocks
        for block, attention in zip(blocks, attentions, strict=True) if attentions is not None else ():
            block.set_submodule(self.layout.attention, attention)
        for block, mlp in zip(blocks, mlps, strict=True) if mlps is not None else ():
            block.set_submodule(first, mlp)
            for name in others:
                block.set_submodule(name, _Nothing())
        return copy

    def _part(self, parent: nn.Module, name: str) -> nn.Module:
        try:
            return parent.get_submodule(name)
        except AttributeError:
            raise UnknownArchitecture(
                f"the layout of {_kind(self.module)} says {name!r}, and its {type(parent).__name__} has no such module"
            ) from None


def anatomy_of(module: nn.Module) -> Anatomy:
    """Where the parts of a causal language model of transformers are.

    Raises `UnknownArchitecture` for a model whose `config.model_type` nobody has registered; the message says how to.
    """
    model_type = _model_type(module)
    layout = LAYOUTS.get(model_type) if model_type else None
    if layout is None and model_type:
        layout = _registered(model_type)
    if layout is None:
        raise UnknownArchitecture(
            f"where the blocks and MLPs of {_kind(module)} are is not known; known model types are "
            f"{', '.join(sorted(LAYOUTS))}. A package can register another by an entry point of the group {GROUP!r}, "
            "whose name is the model type and whose object is a compat_spec.nn.anatomy.Layout"
        )
    return Anatomy(module, layout)


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy of a module whose parameters share the originals' memory but never require a gradient.

    Modules are new objects, so that modes, hooks and replaced parts of the copy leave the original as it is. Nobody
    should write into the parameters of either while both are in use.
    """
    shared: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in module.parameters()}
    shared |= {id(buffer): buffer for buffer in module.buffers()}
    return deepcopy(module, shared)


class _Chain(nn.Module):
    """Modules that a block calls one on another's output, as one module.

    The block does not call this module, so its forward hooks are hung where its output appears: at the last part.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names = tuple(parts)
        self.parts = nn.ModuleList(parts.values())

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def get_submodule(self, target: str) -> nn.Module:
        """A part by its name in the block, which may have dots in it."""
        return self.parts[self.names.index(target)] if target in self.names else super().get_submodule(target)

    def register_forward_hook(self, hook: Callable[..., Any], **options: Any) -> RemovableHandle:
        return self.parts[-1].register_forward_hook(hook, **options)


class _Nothing(nn.Identity):
    """What is left where a part of an MLP was, once another module does the work of all parts."""


def _registered(model_type: str) -> Layout | None:
    for entry_point in entry_points(group=GROUP, name=model_type):
        try:
            layout = entry_point.load()
        except Exception as error:
            raise UnknownArchitecture(
                f"the layout {entry_point.value} of {model_type!r} does not load: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(layout, Layout):
            raise UnknownArchitecture(f"{entry_point.value} of {model_type!r} is not a {Layout.__module__}.Layout")
        return layout
    return None


def _model_type(module: nn.Module) -> str | None:
    model_type = getattr(getattr(module, "config", None), "model_type", None)
    return model_type if isinstance(model_type, str) else None


def _kind(module: nn.Module) -> str:
    model_type = _model_type(module)
    return f"{type(module).__name__} ({model_type})" if model_type else f"{type(module).__name__}"
