"""Stitching: a block of one network is made to work for a block of another, through a linear map.

The loss of network B, when after block j its residual stream is a linear map of that after block i of network A, says
what A's representation can be used for. Lenc and Vedaldi, "Understanding Image Representations by Measuring Their
Equivariance and Equivalence", 2015, arXiv:1411.5908; Bansal, Nakkiran, Barak, "Revisiting Model Stitching to Compare
Neural Representations", 2021, arXiv:2106.07682.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import frozen_copy
from compat_spec.nn.batches import IGNORED, Batches
from compat_spec.nn.capture import read_layers
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.features import features
from compat_spec.nn.linear_maps import LinearMaps, Scaled
from compat_spec.nn.network import Network, check_same_vocabulary
from compat_spec.nn.optimizers import Schedule
from compat_spec.nn.tails import Tail
from compat_spec.nn.windows import Window, context_length, evaluation_windows, places_of, read_in_batches

T = TypeVar("T")

Progress = Callable[[int, int, str], None]

# entries of logits and of activations, kept for the gradient, of what goes through the second network at once: 1 GiB
_ENTRIES_AT_ONCE = 2**28
# entries of maps that are trained together: with their gradients and Adam's moments 2 GiB
_MAP_ENTRIES = 2**27
# about how many entries a block keeps for the gradient, for each token and unit of its width
_KEPT_IN_BLOCK = 20
_READ_AT_ONCE = 4096


@dataclass(frozen=True)
class StitchingRecipe:
    """How maps are found, and what they are scored on.

    Attributes:
        pairs: `all` pairs of blocks, or those of the `same` depth.
        fit_tokens: tokens of the train split that the least-squares maps, where training starts, are fitted on.
        ridge: what is added to the variance of each feature in that fit, where all have a variance of 1.
        steps: how often the maps are then moved to lower the loss on the train split; 0 leaves them as they are.
        batch_size: windows in a step.
        lr: of Adam, which falls as a cosine to a tenth, for maps between features of variance 1.
        tokens: about how many tokens of the test split to score on; None is all.
        context: the longest sequence to read; None is what both networks accept, at most 1,024.
        seed: draws the tokens of the fit and the windows of the steps.
    """

    pairs: Literal["all", "same"] = "all"
    fit_tokens: int = 4096
    ridge: float = 1e-6
    steps: int = 50
    batch_size: int = 4
    lr: float = 3e-3
    tokens: int | None = 4096
    context: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class StitchingLosses:
    """What stitching found.

    Attributes:
        losses: the mean cross-entropy in nats `[blocks of a, blocks of b]`, float64, from float32 logits; NaN for
            pairs that were not asked for.
        tokens: how many tokens were scored.
    """

    losses: Tensor
    tokens: int


def stitching_losses(
    a: Network,
    b: Network,
    train: EncodedSplit,
    test: EncodedSplit,
    recipe: StitchingRecipe,
    *,
    device: torch.device | str,
    progress: Progress | None = None,
) -> StitchingLosses:
    """The loss of `b` on `test` when the residual stream after its block j is a map of that after block i of `a`.

    Both networks stay as they are. For each pair of blocks (i, j) a linear map with a bias starts as the ridge
    regression of the features of j on those of i, and is trained with the loss of `b`, whose later blocks, norm and
    head are frozen. Scored are the tokens that `token_scores` scores, from the same windows, so that the losses can be
    compared with those of the networks themselves.

    Args:
        a, b: on `device`. Depths, widths and architectures may differ.
        progress: called with the work done so far, all work, and what is being done.

    Raises `CompatError` for networks with different tokenizers, for splits without tokens to train on or to score, and
    when training diverges; `UnknownArchitecture`.
    """
    check_same_vocabulary({"the first network": a.tokenizer, "the second": b.tokenizer})
    return _Stitching(a, b, train, test, recipe, device, progress or (lambda *_: None)).run()


class _Stitching:
    def __init__(
        self,
        a: Network,
        b: Network,
        train: EncodedSplit,
        test: EncodedSplit,
        recipe: StitchingRecipe,
        device: torch.device | str,
        progress: Progress,
    ) -> None:
        self.b, self.train, self.test, self.recipe = b, train, test, recipe
        self.device, self.progress = device, progress
        self.a = Network(frozen_copy(a.module).eval(), a.tokenizer)
        self.tail = Tail(b)
        self.context = min(context_length(network, recipe.context) for network in (a, b))
        self.depths = len(a.anatomy), len(b.anatomy)
        per_token = 3 * self.tail.outputs + _KEPT_IN_BLOCK * b.anatomy.width * self.depths[1]
        self.tokens_at_once = max(self.context, _ENTRIES_AT_ONCE // per_token)

        windows = evaluation_windows(test, recipe.tokens, self.context)
        self.windows = [window for window in windows if test.scored[window.start : window.stop].any()]
        if not self.windows:
            raise CompatError("the split has no token to score")
        # the work on one block of b, in tokens that go through
        trained = recipe.steps * recipe.batch_size * self.context
        self.total = len(self._targets()) * (trained + sum(window.length for window in self.windows))
        self.done = 0

    def run(self) -> StitchingLosses:
        losses = torch.full(self.depths, torch.nan, dtype=torch.float64)
        self.progress(0, self.total, "features")
        xs, ys = ([Scaled(layer) for layer in self._features(network)] for network in (self.a, self.b))
        self.scales = xs
        scored = 0
        for blocks in self._groups():
            maps = []
            for block in blocks:
                sources = self._sources(block)
                self.progress(self.done, self.total, f"least squares, block {block}")
                maps.append(LinearMaps(block, sources, [xs[i] for i in sources], ys[block], self.recipe.ridge))
            self._train(maps)
            sums, scored = self._score(maps)
            for into, found in zip(maps, sums, strict=True):
                losses[into.sources, into.block] = found / scored
        return StitchingLosses(losses, scored)

    # ----------------------------------------------------------------------------------------------- which pairs

    def _targets(self) -> range:
        return range(self.depths[1] if self.recipe.pairs == "all" else min(self.depths))

    def _sources(self, block: int) -> list[int]:
        return list(range(self.depths[0])) if self.recipe.pairs == "all" else [block]

    def _groups(self) -> Iterator[list[int]]:
        """The blocks of b whose maps are trained together, as many as there is memory for."""
        entries = len(self._sources(0)) * self.a.anatomy.width * self.b.anatomy.width
        blocks = iter(self._targets())
        while group := list(islice(blocks, max(1, _MAP_ENTRIES // entries))):
            yield group

    # ------------------------------------------------------------------------------------------------ the two ends

    def _features(self, network: Network) -> list[Tensor]:
        recipe = self.recipe
        return features(
            network,
            self.train,
            site="block",
            tokens=recipe.fit_tokens,
            context=self.context,
            seed=recipe.seed,
            device=self.device,
        )

    def _hidden(self, ids: Tensor) -> list[Tensor]:
        """The scaled residual stream of a after each block, `[rows, seq, width]`, float32."""
        found: list[Tensor] = []
        with torch.no_grad():
            read_layers(self.a, ids, "block", lambda layer, hidden: found.append(self.scales[layer].apply(hidden)))
        return found

    def _stitched(
        self, maps: LinearMaps, ids: Tensor, hidden: Sequence[Tensor]
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """The logits `[sources, rows, seq, outputs]` of all maps, as many sources and rows at a time as may be."""
        sources = torch.stack([hidden[i] for i in maps.sources])
        for which, rows in self._pieces(*sources.shape[:3]):
            mapped = maps(which, sources[which, rows])  # [sources, rows, seq, width]
            logits = self.tail.logits(ids[rows].repeat(len(mapped), 1), maps.block, mapped.flatten(0, 1))
            yield which, rows, logits.view(*mapped.shape[:3], -1)

    def _with_memory_for(self, length: int, work: Callable[[], T]) -> T:
        """What `work` gives; where the device has no memory for so much at once, it begins again with half of it."""
        while True:
            try:
                return work()
            except torch.OutOfMemoryError:
                if self.tokens_at_once <= length:
                    raise CompatError(
                        f"the device has no memory for one stitched sequence of {length} tokens; choose a smaller "
                        "`context`"
                    ) from None
                self.tokens_at_once = max(length, self.tokens_at_once // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()

    def _pieces(self, sources: int, rows: int, length: int) -> Iterator[tuple[slice, slice]]:
        at_once = max(1, self.tokens_at_once // length)
        for source in range(0, sources, max(1, at_once // rows)):
            for row in range(0, rows, at_once):
                yield slice(source, source + max(1, at_once // rows)), slice(row, row + at_once)

    # -------------------------------------------------------------------------------------------- training, scoring

    def _train(self, group: Sequence[LinearMaps]) -> None:
        recipe = self.recipe
        if not recipe.steps:
            return
        batches = Batches(
            {"of stitching": self.train},
            {"of stitching": 1.0},
            rows=recipe.batch_size,
            context=self.context,
            seed=recipe.seed,
        )
        schedule = Schedule("cosine", recipe.steps, warmup=recipe.steps // 10, final=0.1)
        optimizer = torch.optim.Adam([p for maps in group for p in maps.parameters])
        for step in range(recipe.steps):
            ids, targets = (part.to(self.device) for part in batches.draw(step))
            hidden = self._hidden(ids)
            for maps in group:
                self._backward(maps, ids, targets, hidden)
                self._tell(ids.numel(), f"step {step + 1} of {recipe.steps}")
            for parameters in optimizer.param_groups:
                parameters["lr"] = recipe.lr * schedule.factor(step)
            optimizer.step()

    def _backward(self, maps: LinearMaps, ids: Tensor, targets: Tensor, hidden: Sequence[Tensor]) -> None:
        """Gradients of the loss through `b`: summed, which Adam does not mind, and half precision needs."""

        def backward() -> float:
            for parameter in maps.parameters:
                parameter.grad = None
            total = 0.0
            for _, rows, logits in self._stitched(maps, ids, hidden):
                wanted = targets[rows].expand(logits.shape[:-1]).flatten()
                loss = F.cross_entropy(logits.float().flatten(0, -2), wanted, ignore_index=IGNORED, reduction="sum")
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
            return total

        total = self._with_memory_for(ids.shape[1], backward)
        if not math.isfinite(total):
            raise CompatError(f"the loss of stitching into block {maps.block} became {total}: try a lower lr")

    @torch.no_grad()
    def _score(self, group: Sequence[LinearMaps]) -> tuple[list[Tensor], int]:
        """The summed losses of each of the maps, and over how many tokens."""
        sums = [torch.zeros(len(maps.sources), dtype=torch.float64) for maps in group]
        scored = 0

        def read(batch: Sequence[Window]) -> None:
            nonlocal scored
            places, inside = places_of(batch)
            places = places.clamp(max=len(self.test.ids) - 1)
            keep = inside & self.test.scored[places]
            ids, targets = (self.test.ids[at].to(self.device, torch.int64) for at in (places - 1, places))
            targets = targets.masked_fill(~keep.to(self.device), IGNORED)
            hidden = self._hidden(ids)
            for maps, total in zip(group, sums, strict=True):
                total += self._losses(maps, ids, targets, hidden)
                self._tell(sum(window.length for window in batch), "scoring")
            scored += int(keep.sum())

        read_in_batches(self.windows, min(_READ_AT_ONCE, self.tokens_at_once), read)
        return sums, scored

    def _losses(self, maps: LinearMaps, ids: Tensor, targets: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        """The summed loss of each map `[sources]`, float64, on the CPU."""

        def losses() -> Tensor:
            found = torch.zeros(len(maps.sources), dtype=torch.float64)
            for which, rows, logits in self._stitched(maps, ids, hidden):
                wanted = targets[rows].expand(logits.shape[:-1])
                each = F.cross_entropy(logits.float().flatten(0, -2), wanted.flatten(), reduction="none")
                found[which] += each.view(len(logits), -1).cpu().double().sum(1)
            return found

        return self._with_memory_for(ids.shape[1], losses)

    def _tell(self, tokens: int, note: str) -> None:
        self.done += tokens
        self.progress(self.done, self.total, note)
