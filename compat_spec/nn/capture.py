"""What the layers of a network put out as it runs: one pass, read by hooks, without the logits that nobody asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, get_args

from torch import Tensor, nn

from compat_spec.nn.network import Network

Site = Literal["block", "mlp", "attention"]

See = Callable[[int, Tensor], None]
"""What is told of a layer as it ends: its number, and its output `[batch, seq, width]`, which it must not change."""


def read_layers(network: Network, ids: Tensor, site: Site, see: See, *, embedding: bool = False) -> None:
    """Run a network once on `ids [batch, seq]`, and call `see` for each of its layers, in their order.

    The head computes the logits of the last place only: over a large vocabulary they cost as much as blocks.

    Args:
        site: the residual stream after each `block`, or the output of its `mlp` or of its `attention`.
        embedding: also see what goes into the first block, as number -1.

    Raises `UnknownArchitecture`, and `ValueError` for a site that there is not.
    """
    seen: list[int] = []

    def hear(layer: int, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        seen.append(layer)
        see(layer, hidden.reshape(*ids.shape, -1))  # some MLPs put out [batch * seq, width]

    first = -1 if embedding else 0
    with ExitStack() as hooks:
        if embedding:
            hooks.enter_context(_before(network.anatomy.blocks[0], lambda hidden: hear(-1, hidden)))
        for layer, module in enumerate(modules_at(network, site)):
            hooks.enter_context(_after(module, layer, hear))
        hooks.enter_context(_last_place_only(network.anatomy.head))
        network.logits(ids)
    expected = list(range(first, len(network.anatomy)))
    if sorted(seen) != expected:
        raise RuntimeError(f"one pass of the network went through its layers {seen}, not once through each")


def modules_at(network: Network, site: Site) -> list[nn.Module]:
    """The module of each layer whose output is read at a site."""
    anatomy = network.anatomy
    blocks = range(len(anatomy.blocks))
    match site:
        case "block":
            return list(anatomy.blocks)
        case "mlp":
            return [anatomy.mlp(i) for i in blocks]
        case "attention":
            return [anatomy.attention(i) for i in blocks]
    raise ValueError(f"no site {site!r}; there are {', '.join(get_args(Site))}")


@contextmanager
def _after(module: nn.Module, layer: int, hear: Callable[[int, Any], None]) -> Iterator[None]:
    def hook(_: nn.Module, __: Any, output: Any) -> None:
        hear(layer, output)

    with module.register_forward_hook(hook):
        yield


@contextmanager
def _before(module: nn.Module, hear: Callable[[Any], None]) -> Iterator[None]:
    def hook(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        hear(given[0] if given else named["hidden_states"])

    with module.register_forward_pre_hook(hook, with_kwargs=True):
        yield


@contextmanager
def _last_place_only(head: nn.Module) -> Iterator[None]:
    def hook(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return (given[0][..., -1:, :], *given[1:]) if given else None

    with head.register_forward_pre_hook(hook):
        yield
