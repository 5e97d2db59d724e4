"""What the linear layers of a network are fed on data, as Gram matrices, and the layer that serves several such data.

Jin, Ren, Preotiuc-Pietro, Cheng, "Dataless Knowledge Fusion by Merging Weights of Language Models", 2022,
arXiv:2212.09849.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from compat_spec.errors import CompatError
from compat_spec.nn.averages import mean
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.evaluation import inference
from compat_spec.nn.network import Network
from compat_spec.nn.windows import Window, context_length, spread_windows

AT_ONCE = 1 << 29
"""So many entries of Gram matrices, 4 GiB, are added up at once, unless a single one has more."""

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
) -> Iterator[tuple[Tensor, InputGram]]:
    """The Gram matrix of the inputs of every linear layer, by its weight, on the CPU.

    The network reads the data as often as it takes to have no more than `AT_ONCE` entries of them in memory.

    All tokens that are read count, scored or not. That of a layer that nothing was fed to, such as an expert that no
    token chose, is zero. Weights that two layers share, such as those of a head tied to the embeddings, are left out.

    Args:
        network: on `device`.
        sequences: how many windows to read, evenly spread over the split; all when it has fewer.
        context: the longest sequence; None is what the network accepts, at most 1,024.
        progress: called with how much is done, and how much there is to do.

    Raises `CompatError` when there is nothing to read, or no memory for a sequence.
    """
    windows = spread_windows(encoded, sequences, context_length(network, context))
    tokens = sum(window.length for window in windows)
    layers = _linear_layers(network.module)
    to_do = len(layers)

    def tell(done: int, of_layers: int) -> None:
        if progress is not None:
            progress((to_do - len(layers)) * len(windows) + done * of_layers, to_do * len(windows))

    while layers:
        with inference(network.module), _Inputs(layers) as inputs:
            for done, window in enumerate(windows, 1):  # one by one: what only fills up a batch does not count
                _read(network, encoded, window, device)
                tell(done, len(inputs.totals))
        last: Tensor | None = None
        fed = list(inputs.totals)
        for name in fed:
            total, layer = inputs.totals.pop(name), layers[name]
            if total is not last:
                last, matrix = total, (total / tokens).cpu()
            yield layer.weight, InputGram(matrix, _input_axis(layer))
        for name in layers.keys() - set(fed) - inputs.postponed:
            layer = layers[name]
            width = layer.weight.shape[_input_axis(layer)]
            yield layer.weight, InputGram(torch.zeros(width, width, dtype=torch.float64), _input_axis(layer))
        layers = {name: layer for name, layer in layers.items() if name in inputs.postponed}
    tell(0, 0)


def _read(network: Network, encoded: EncodedSplit, window: Window, device: torch.device | str) -> None:
    start, stop = window
    try:
        network.logits(encoded.ids[None, start - 1 : stop - 1].to(device, torch.int64))
    except torch.OutOfMemoryError:
        raise CompatError(
            f"the device has no memory for the inputs of the layers and one sequence of {stop - start} tokens; choose "
            "a smaller `context`"
        ) from None


def regression_mean(weights: Sequence[Tensor], grams: Iterable[InputGram], alpha: float) -> Tensor:
    """The weight W that minimises the sum over layers of |x W - x W_i|² over the inputs x of each.

    W = (Σ G_i)⁺ Σ G_i W_i, with the entries off the diagonals of the Gram matrices G_i times `alpha`. Where that
    does not determine W, it is what is nearest to the mean of the W_i, each input measured by its size; in particular,
    the weights of inputs that are always zero are averaged. Computed in float64.

    Args:
        weights: of one layer in each network, all `[in, out]` or all `[out, in]`, as `InputGram.axis` says.

        grams: one for each, all of one axis; they are gone through once, and no two are held.

    Returns: a weight like these.
    """
    average = mean(weights)
    centre = average.double()
    total: Tensor | None = None
    moments: Tensor | None = None
    for weight, gram in zip(weights, grams, strict=True):
        axis = gram.axis
        reduced = gram.matrix.to(centre.device) * alpha
        reduced.diagonal().copy_(gram.matrix.diagonal())
        # as what is to be added to the mean, so that equal weights come out to the bit
        moment = reduced @ (weight.double() - centre).movedim(axis, 0)
        total = reduced if total is None else total.add_(reduced)
        moments = moment if moments is None else moments.add_(moment)
    assert total is not None
    assert moments is not None
    return (centre + _solve(total, moments).movedim(0, axis)).to(average.dtype)


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


def _input_axis(layer: nn.Linear | Conv1D) -> int:
    return 0 if isinstance(layer, Conv1D) else 1


def _linear_layers(module: nn.Module) -> dict[str, nn.Linear | Conv1D]:
    users = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))
    return {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear | Conv1D) and users[id(part.weight)] == 1
    }


class _Inputs:
    """While it is open, adds up x xᵀ over what layers are fed, by the layer's name, in float64.

    Layers that are fed one tensor one after another, such as the projections of an attention, share one sum, unless
    the first of them was fed something else before.
    """

    def __init__(self, layers: Mapping[str, nn.Linear | Conv1D]) -> None:
        self.totals: dict[str, Tensor] = {}
        self.postponed: set[str] = set()
        """Layers for whose inputs there is no room at once with those of the layers before them."""
        self._entries = 0
        self._layers = layers
        self._followers: set[str] = set()
        self._once: set[str] = set()
        """Layers that have been fed once, so that the next may still share their sum."""
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
            before = last[0] if last is not None and last[1] is fed[0] else None
            if name in self.postponed:
                return
            if name in self.totals:
                self._once.discard(name)
            elif not self._begin(name, before, fed[0].shape[-1]):
                return
            if name not in self._followers:
                rows = fed[0].reshape(-1, fed[0].shape[-1]).double()
                self.totals[name].addmm_(rows.mT, rows)
            elif before is None or self.totals.get(before) is not self.totals[name]:
                raise CompatError(f"{name} was fed what another layer was fed, and then something else")

        return hook

    def _begin(self, name: str, before: str | None, width: int) -> bool:
        """Where the sum of a layer is to be, which may be that of the one `before` it; False where it is postponed."""
        if before in self._once:
            self.totals[name] = self.totals[before]
            self._followers.add(name)
        elif self._entries and self._entries + width**2 > AT_ONCE:
            self.postponed.add(name)
            return False
        else:
            device = self._layers[name].weight.device
            self.totals[name] = torch.zeros(width, width, dtype=torch.float64, device=device)
            self._entries += width**2
        self._once.add(name)
        return True
