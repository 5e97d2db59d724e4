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
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.batches import IGNORED, Batches
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.features import features
from compat_spec.nn.linear_maps import LinearMaps, ScaledFeatures
from compat_spec.nn.network import Network, check_same_vocabulary
from compat_spec.nn.optimizers import Schedule
from compat_spec.nn.stitched import StitchedPair
from compat_spec.nn.windows import Window, context_length, places_of, read_in_batches, scored_windows

__all__ = ["StitchingLosses", "StitchingRecipe", "stitching_losses"]

Progress = Callable[[int, int, str], None]

# entries of maps that are trained together: with their gradients and Adam's moments 2 GiB
_MAP_ENTRIES = 2**27
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
        self.networks, self.train, self.test, self.recipe = (a, b), train, test, recipe
        self.device, self.progress = device, progress
        self.context = min(context_length(network, recipe.context) for network in (a, b))
        self.depths = len(a.anatomy), len(b.anatomy)
        self.windows = scored_windows(test, recipe.tokens, self.context)
        # the work on one block of b, in tokens that go through
        trained = recipe.steps * recipe.batch_size * self.context
        self.total = len(self._targets()) * (trained + sum(window.length for window in self.windows))
        self.done = 0

    def run(self) -> StitchingLosses:
        losses = torch.full(self.depths, torch.nan, dtype=torch.float64)
        xs, ys = (self._features(network) for network in self.networks)
        pair = StitchedPair(*self.networks, [x.scale for x in xs], self.context)
        scored = 0
        for blocks in self._groups():
            group = self._fit(xs, ys, blocks)
            if self.recipe.steps:
                self._train(pair, group)
            sums, scored = self._score(pair, group)
            for maps, found in zip(group, sums, strict=True):
                if self.recipe.steps:  # the last of them may have been too far
                    _check_converging(maps, float(found.sum()))
                losses[maps.sources, maps.block] = found / scored
        return StitchingLosses(losses, scored)

    # ----------------------------------------------------------------------------------------------- which pairs

    def _targets(self) -> range:
        return range(self.depths[1] if self.recipe.pairs == "all" else min(self.depths))

    def _sources(self, block: int) -> list[int]:
        return list(range(self.depths[0])) if self.recipe.pairs == "all" else [block]

    def _groups(self) -> Iterator[list[int]]:
        """The blocks of b whose maps are trained together, as many as there is memory for."""
        a, b = self.networks
        entries = len(self._sources(0)) * a.anatomy.width * b.anatomy.width
        blocks = iter(self._targets())
        while group := list(islice(blocks, max(1, _MAP_ENTRIES // entries))):
            yield group

    # --------------------------------------------------------------------------------------------- fitting the maps

    def _features(self, network: Network) -> list[ScaledFeatures]:
        recipe = self.recipe
        found = features(
            network,
            self.train,
            site="block",
            tokens=recipe.fit_tokens,
            context=self.context,
            seed=recipe.seed,
            device=self.device,
            progress=lambda *_: self._tell(0, "features"),
        )
        return [ScaledFeatures(layer) for layer in found]

    def _fit(
        self, xs: Sequence[ScaledFeatures], ys: Sequence[ScaledFeatures], blocks: Sequence[int]
    ) -> list[LinearMaps]:
        weights: dict[int, list[Tensor]] = {block: [] for block in blocks}
        for source, x in enumerate(xs):
            self._tell(0, f"least squares from block {source}")
            targets = [block for block in blocks if source in self._sources(block)]
            if targets:
                found = x.regressions([ys[block] for block in targets], self.recipe.ridge)
                for block, weight in zip(targets, found, strict=True):
                    weights[block].append(weight)
        return [LinearMaps(self._sources(block), block, weights[block], ys[block].scale) for block in blocks]

    def _train(self, pair: StitchedPair, group: Sequence[LinearMaps]) -> None:
        recipe = self.recipe
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
            hidden = pair.hidden(ids)
            losses = []
            for maps in group:
                losses.append(_backward(pair, maps, ids, targets, hidden))
                self._tell(ids.numel(), f"step {step + 1} of {recipe.steps}")
            for maps, loss in zip(group, torch.stack(losses).tolist(), strict=True):
                _check_converging(maps, loss)
            for parameters in optimizer.param_groups:
                parameters["lr"] = recipe.lr * schedule.factor(step)
            optimizer.step()

    # --------------------------------------------------------------------------------------------- scoring the maps

    @torch.no_grad()
    def _score(self, pair: StitchedPair, group: Sequence[LinearMaps]) -> tuple[list[Tensor], int]:
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
            hidden = pair.hidden(ids)
            for maps, total in zip(group, sums, strict=True):
                total += _losses(pair, maps, ids, targets, hidden)
                self._tell(sum(window.length for window in batch), "scoring")
            scored += int(keep.sum())

        read_in_batches(self.windows, min(_READ_AT_ONCE, pair.tokens_at_once), read)
        return sums, scored

    def _tell(self, tokens: int, note: str) -> None:
        self.done += tokens
        self.progress(self.done, self.total, note)


def _check_converging(maps: LinearMaps, loss: float) -> None:
    if not math.isfinite(loss):
        raise CompatError(f"the loss of stitching into block {maps.block} became {loss}: try a lower lr")


def _backward(pair: StitchedPair, maps: LinearMaps, ids: Tensor, targets: Tensor, hidden: Sequence[Tensor]) -> Tensor:
    """Compute the gradients of the summed loss of all maps, and return it; Adam does not mind that it is no mean.

    In half precision, gradients of a mean would vanish.
    """

    def work() -> Tensor:
        for parameter in maps.parameters:
            parameter.grad = None
        total = torch.zeros((), device=ids.device)
        for _, rows, logits in pair.logits(maps, ids, hidden):
            wanted = targets[rows].expand(logits.shape[:-1]).flatten()
            loss = F.cross_entropy(logits.float().flatten(0, -2), wanted, ignore_index=IGNORED, reduction="sum")
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    return pair.with_memory_for(ids.shape[1], work)


def _losses(pair: StitchedPair, maps: LinearMaps, ids: Tensor, targets: Tensor, hidden: Sequence[Tensor]) -> Tensor:
    """The summed loss of each map `[sources]`, float64, on the CPU."""

    def work() -> Tensor:
        found = torch.zeros(len(maps.sources), dtype=torch.float64)
        for which, rows, logits in pair.logits(maps, ids, hidden):
            wanted = targets[rows].expand(logits.shape[:-1]).flatten()
            each = F.cross_entropy(logits.float().flatten(0, -2), wanted, ignore_index=IGNORED, reduction="none")
            found[which] += each.view(len(logits), -1).cpu().double().sum(1)
        return found

    return pair.with_memory_for(ids.shape[1], work)
