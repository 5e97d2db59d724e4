"""The features of every block of a network, on tokens of a split drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from compat_spec.errors import CompatError
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.evaluation import inference
from compat_spec.nn.network import Network
from compat_spec.nn.windows import Window, context_length, places_of, read_in_batches

Site = Literal["block", "mlp", "attention"]

_BATCH_TOKENS = 4096
# tokens are drawn from windows that hold this many times as many: fewer are read than the whole split, yet the tokens
# drawn do not all come from a few texts
_WINDOW_TOKENS_PER_DRAWN = 4


def features(
    network: Network,
    encoded: EncodedSplit,
    *,
    site: Site,
    tokens: int,
    context: int | None,
    seed: int,
    device: torch.device | str,
) -> list[Tensor]:
    """What each block puts out for `tokens` tokens of a split: one `[tokens, width]` per block, float32, on `device`.

    Which tokens, and what is read before them, depends on the split's length, `tokens`, `context` and `seed` only, so
    that the rows of two networks with one tokenizer belong together. A split with fewer tokens gives all of them.

    Args:
        network: on `device`.
        site: the residual stream after each `block`, or the output of its `mlp` or of its `attention`.
        context: the longest sequence to read at once; None is what the network accepts, at most 1,024.

    Raises `UnknownArchitecture`, and `CompatError` when the split is empty or `context` is more than is accepted.
    """
    if not len(encoded.ids):
        raise CompatError("the split has no tokens")
    modules = _modules_at(network, site)
    windows, drawn = draw_tokens(len(encoded.ids), tokens, context_length(network, context), seed)
    row_of = torch.full((len(encoded.ids),), -1)
    row_of[drawn] = torch.arange(len(drawn))
    found: list[Tensor | None] = [None] * len(modules)

    def read(batch: Sequence[Window]) -> None:
        places, inside = places_of(batch)
        places = places.clamp(max=len(encoded.ids) - 1)
        rows = torch.where(inside, row_of[places], -1).flatten()
        chosen = (rows >= 0).nonzero().flatten()
        with _Outputs(modules, chosen.to(device)) as outputs:
            network.logits(encoded.ids[places].to(device, torch.int64))
        for i, output in enumerate(outputs.read()):
            kept = found[i]
            if kept is None:
                found[i] = kept = output.new_empty(len(drawn), output.shape[-1])
            kept[rows[chosen].to(device)] = output

    with inference(network.module):
        read_in_batches(windows, _BATCH_TOKENS, read)
    return [kept for kept in found if kept is not None]


def draw_tokens(length: int, tokens: int, context: int, seed: int) -> tuple[list[Window], Tensor]:
    """Draw tokens of a stream of `length`: the windows to read, and the places drawn in them `[tokens]`, ascending.

    A window here is what is read, `ids[start:stop]`. Windows of `context` are drawn without replacement, about four
    times as many as hold `tokens`; then tokens among theirs, each with the same chance.
    """
    generator = torch.Generator().manual_seed(seed)
    count = -(-length // context)
    # one window more, as the last of the stream may be short
    wanted = min(count, 1 - (-_WINDOW_TOKENS_PER_DRAWN * tokens // context))
    chosen = torch.randperm(count, generator=generator)[:wanted].sort().values.tolist()
    windows = [Window(i * context, min((i + 1) * context, length)) for i in chosen]
    places = torch.cat([torch.arange(window.start, window.stop) for window in windows])
    drawn = places[torch.randperm(len(places), generator=generator)[:tokens]].sort().values
    read = set((drawn // context).tolist())
    return [window for window in windows if window.start // context in read], drawn


def _modules_at(network: Network, site: Site) -> list[nn.Module]:
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


class _Outputs:
    """While it is open, keeps what modules put out at the chosen places of a flattened batch, in float32."""

    def __init__(self, modules: Sequence[nn.Module], chosen: Tensor) -> None:
        self._modules = modules
        self._chosen = chosen
        self._kept: list[list[Tensor]] = [[] for _ in modules]

    def __enter__(self) -> _Outputs:
        self._handles = [
            module.register_forward_hook(self._keep(kept))
            for module, kept in zip(self._modules, self._kept, strict=True)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, kept: list[Tensor]) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            # some MLPs put out [batch * seq, width]
            kept.append(hidden.reshape(-1, hidden.shape[-1])[self._chosen].float())

        return hook

    def read(self) -> list[Tensor]:
        """The output of each module `[chosen, width]`."""
        for i, kept in enumerate(self._kept):
            if len(kept) != 1:
                raise RuntimeError(f"block {i} was read {len(kept)} times in one pass of the network, not once")
        return [kept[0] for kept in self._kept]
