"""What the linear layers of a network are fed on data, as Gram matrices, and the layer that serves several such data.

Jin, Ren, Preotiuc-Pietro, Cheng, "Dataless Knowledge Fusion by Merging Weights of Language Models", 2022,
arXiv:2212.09849.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from compat_spec.errors import CompatError
from compat_spec.nn.averages import mean
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.evaluation import inference
from compat_spec.nn.network import Network
from compat_spec.nn.windows import context_length, spread_windows

_SINGULAR = 1e-12
"""Beside the largest eigenvalue of a matrix of correlations, one of this size is zero: float32 says no more of it."""

_SAFE = 1e-8
"""With pivots above this, a matrix of correlations is far from singular."""


@dataclass(frozen=True)
class InputGram:
    """The inputs x of a linear layer.

    Attributes:
        matrix: the mean of x xᵀ over tokens `[in, in]`, float64.
        axis: the axis of the layer's weight that goes with x: 1 for `nn.Linear`, 0 for transformers' `Conv1D`.
    """

    matrix: Tensor
    axis: int


def input_grams(
    network: Network,
    encoded: EncodedSplit,
    *,
    sequences: int,
    context: int | None,
    device: torch.device | str,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Tensor, InputGram]:
    """The Gram matrix of the inputs of every linear layer, by its weight, on the CPU.

    All tokens that are read count, scored or not. Weights that two layers share, such as those of a head tied to the
    embeddings, are left out, and so are layers that nothing was fed to.

    Args:
        network: on `device`.
        sequences: how many windows to read, evenly spread over the split; all when it has fewer.
        context: the longest sequence; None is what the network accepts, at most 1,024.
        progress: called with the sequences read so far and the sequences to read.

    Raises `CompatError` when there is nothing to read, or no memory for a sequence.
    """
    windows = spread_windows(encoded, sequences, context_length(network, context))
    layers = _linear_layers(network.module)
    with inference(network.module), _Inputs(layers) as inputs:
        for done, (start, stop) in enumerate(windows, 1):  # one by one: places that only fill up a batch do not count
            try:
                network.logits(encoded.ids[None, start - 1 : stop - 1].to(device, torch.int64))
            except torch.OutOfMemoryError:
                raise CompatError(
                    f"the device has no memory for the inputs of all layers and one sequence of {stop - start} tokens; "
                    "choose a smaller `context`"
                ) from None
            if progress is not None:
                progress(done, len(windows))
    tokens = sum(window.length for window in windows)
    means = {id(total): (total / tokens).cpu() for total in inputs.totals.values()}
    return {
        layers[name].weight: InputGram(means[id(total)], axis=0 if isinstance(layers[name], Conv1D) else 1)
        for name, total in inputs.totals.items()
    }


def regression_mean(weights: Sequence[Tensor], grams: Sequence[InputGram], alpha: float) -> Tensor:
    """The weight W that minimises the sum over layers of |x W - x W_i|² over the inputs x of each.

    W = (Σ G_i)⁺ Σ G_i W_i, with the entries off the diagonals of the Gram matrices G_i times `alpha`. Where that
    does not determine W, it is what is nearest to the mean of the W_i, each input measured by its size; in particular,
    the weights of inputs that are always zero are averaged. Computed in float64.

    Args:
        weights: of one layer in each network, all `[in, out]` or all `[out, in]`, as `InputGram.axis` says.

    Returns: a weight like these.
    """
    axis = grams[0].axis
    average = mean(weights)
    centre = average.double()
    reduced = [_reduced(gram.matrix.to(centre.device), alpha) for gram in grams]
    # as what is to be added to the mean, so that equal weights come out to the bit
    moments = sum(
        gram @ (weight.double() - centre).movedim(axis, 0) for weight, gram in zip(weights, reduced, strict=True)
    )
    assert isinstance(moments, Tensor)
    change = _solve(sum(reduced[1:], reduced[0]), moments).movedim(0, axis)
    return (centre + change).to(average.dtype)


def _reduced(gram: Tensor, alpha: float) -> Tensor:
    return gram * alpha + (gram.diagonal() * (1 - alpha)).diag()


def _solve(a: Tensor, b: Tensor) -> Tensor:
    """The x that solves a x = b, or comes nearest; of several, the smallest, each entry measured by a's diagonal.

    Args:
        a: a Gram matrix `[n, n]`: symmetric, without negative eigenvalues.
    """
    # by the size of each input, which differs by orders of magnitude: what remains are correlations
    scale = torch.where(a.diagonal() > 0, a.diagonal().rsqrt(), 0)
    correlations = scale[:, None] * a * scale
    correlations.fill_diagonal_(1)  # also of inputs that are always zero, for which x is zero
    b = scale[:, None] * b
    factor, failed = torch.linalg.cholesky_ex(correlations)
    if not failed and bool(factor.diagonal().square().min() > _SAFE):
        return scale[:, None] * torch.cholesky_solve(b, factor)
    values, vectors = torch.linalg.eigh(correlations)
    inverse = torch.where(values > _SINGULAR * values[-1], 1 / values, 0)
    solution: Tensor = vectors @ (inverse[:, None] * (vectors.mT @ b))
    return scale[:, None] * solution


def _linear_layers(module: nn.Module) -> dict[str, nn.Linear | Conv1D]:
    users = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))
    return {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear | Conv1D) and users[id(part.weight)] == 1
    }


class _Inputs:
    """While it is open, adds up x xᵀ over what layers are fed, by the layer's name, in float64.

    Layers that are fed one tensor one after another, such as the projections of an attention, share one sum.
    """

    def __init__(self, layers: Mapping[str, nn.Linear | Conv1D]) -> None:
        self.totals: dict[str, Tensor] = {}
        self._layers = layers
        self._followers: set[str] = set()
        self._last: tuple[str, Tensor] | None = None

    def __enter__(self) -> _Inputs:
        self._handles = [layer.register_forward_pre_hook(self._hear(name)) for name, layer in self._layers.items()]
        return self

    def __exit__(self, *_: object) -> None:
        self._last = None
        for handle in self._handles:
            handle.remove()

    def _hear(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, fed: tuple[Tensor, ...]) -> None:
            last, self._last = self._last, (name, fed[0])
            same = last is not None and last[1] is fed[0]
            if same and name not in self.totals:
                assert last is not None
                self.totals[name] = self.totals[last[0]]
                self._followers.add(name)
            if name not in self._followers:
                rows = fed[0].reshape(-1, fed[0].shape[-1]).double()
                gram = rows.mT @ rows
                self.totals[name] = self.totals[name].add_(gram) if name in self.totals else gram
            elif not same:
                raise RuntimeError(f"{name} was fed what another layer was fed, and then something else")

        return hook
