"""The tail of a network: what it makes of a residual stream that is put in after one of its blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import anatomy_of, frozen_copy
from compat_spec.nn.network import Network
from compat_spec.nn.routers import Follower


class Tail:
    """A frozen copy of a network, which shares its tensors, to be run from after any of its blocks on.

    The network's own forward pass runs, with its embeddings, masks and positions, so that it works for every
    architecture whose blocks are known; only the blocks before do nothing.

    Attributes:
        outputs: how many logits there are for a token.
        dtype: what its blocks put out.

    Raises:
        UnknownArchitecture: where the blocks are is not known.
        CompatError: a later block needs what an earlier one did, beside the residual stream.
    """

    def __init__(self, network: Network) -> None:
        self.module = frozen_copy(network.module).eval()
        self.blocks = anatomy_of(self.module).blocks
        if any(isinstance(part, Follower) for part in self.module.modules()):
            raise CompatError("a network whose blocks repeat the first block's choice cannot start after that block")
        ids = torch.zeros(1, 2, dtype=torch.int64, device=network.device)
        found: list[Any] = []
        with self.blocks[0].register_forward_hook(lambda _, __, output: found.append(output)), torch.no_grad():
            self.outputs = self._logits(ids).shape[-1]
        # some blocks put out a tuple, of which all but the hidden states is empty here
        self._rest: tuple[Any, ...] | None = found[0][1:] if isinstance(found[0], tuple) else None
        self.dtype: torch.dtype = (found[0] if self._rest is None else found[0][0]).dtype

    def logits(self, ids: Tensor, block: int, hidden: Tensor) -> Tensor:
        """The logits `[batch, seq, outputs]` for `ids [batch, seq]` when `hidden [batch, seq, width]` leaves a block.

        Gradients flow into `hidden`.
        """
        with ExitStack() as stack:
            for before in self.blocks[:block]:
                stack.enter_context(_forward(before, self._through))
            stack.enter_context(_forward(self.blocks[block], lambda *_, **__: self._put_out(hidden.to(self.dtype))))
            return self._logits(ids)

    def _logits(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.module(input_ids=ids, use_cache=False).logits
        return logits

    def _through(self, *given: Any, **named: Any) -> Any:
        return self._put_out(given[0] if given else named["hidden_states"])

    def _put_out(self, hidden: Tensor) -> Any:
        return hidden if self._rest is None else (hidden, *self._rest)


@contextmanager
def _forward(block: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Another forward pass for a block, for a while."""
    own = vars(block).get("forward")
    vars(block)["forward"] = forward
    try:
        yield
    finally:
        del vars(block)["forward"]
        if own is not None:
            vars(block)["forward"] = own
