"""Matches the units of one network with those of another: which permutation brings its weights nearest to the other's.

Ainsworth, Hayase, Srinivasa, "Git Re-Basin: Merging Models modulo Permutation Symmetries", 2022, arXiv:2209.04836.

An order says of each place which unit comes there: `order[place] = unit`, int64 `[size]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.symmetries import Symmetry, Use

Orders = Mapping[str, Tensor]
"""An order for each symmetry, by its name; symmetries without one stay as they are."""

ROUNDS = 100
"""After so many rounds through all symmetries, the matching ends even where it could still improve."""

_NO_GAIN = 1e-6
"""A gain in similarity below this share of it is rounding."""


def match(
    reference: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    symmetries: Sequence[Symmetry],
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """The orders that bring `other` nearest to `reference`: weight matching (the paper's algorithm 1).

    One symmetry after another gets the order that is best with those of all others as they are, a linear assignment,
    until none improves. The paper goes through them at random; here the order is that of `symmetries`, so that the
    result is always the same. It is a local optimum.

    Args:
        reference: the tensors of one network by name; each is read anew whenever it is needed.
        other: those of a network of the same shapes.
        progress: called with the symmetries matched in this round, and how many there are.

    Raises `CompatError` when a tensor is not finite.
    """
    orders = {symmetry.name: torch.arange(symmetry.size) for symmetry in symmetries}
    by_axis = {(use.tensor, use.axis): (symmetry, use) for symmetry in symmetries for use in symmetry.uses}

    def improved(symmetry: Symmetry) -> bool:
        alike, alike_shared = (np.zeros((size, size)) for size in (symmetry.size, symmetry.groups))
        for use in symmetry.uses:
            count = symmetry.groups if use.shared else symmetry.size
            ours, theirs = (source[use.tensor].to(device) for source in (reference, other))
            work = torch.promote_types(torch.promote_types(ours.dtype, theirs.dtype), torch.float32)
            for axis in range(theirs.dim()):
                if axis != use.axis and (theirs_at := by_axis.get((use.tensor, axis))) is not None:
                    theirs = _reordered(theirs, axis, orders[theirs_at[0].name], *theirs_at)
            rows, columns = (_by_unit(tensor.to(work), use, count) for tensor in (ours, theirs))
            products = (rows @ columns.mT).double().cpu().numpy()
            if not np.isfinite(products).all():
                raise CompatError(f"{use.tensor} has entries that are not finite in one of the models to be matched")
            if use.shared:
                alike_shared += products
            else:
                alike += products
        now = orders[symmetry.name].numpy()
        best = _best_order(alike, alike_shared)
        before = _similarity(alike, alike_shared, now)
        if _similarity(alike, alike_shared, best) - before <= _NO_GAIN * abs(before):
            return False
        orders[symmetry.name] = torch.from_numpy(best)
        return True

    for _ in range(ROUNDS):
        gains = 0
        for done, symmetry in enumerate(symmetries, 1):
            gains += improved(symmetry)
            if progress is not None:
                progress(done, len(symmetries))
        if not gains:
            break
    return orders


def axis_orders(
    symmetries: Sequence[Symmetry], orders: Orders, shapes: Mapping[str, Sequence[int]]
) -> dict[tuple[str, int], Tensor]:
    """What `orders` do to the entries of tensors: which entry comes to each place, by tensor and axis.

    Axes that stay as they are are left out.
    """
    found = {}
    for symmetry in symmetries:
        order = orders.get(symmetry.name)
        if order is not None and not order.equal(torch.arange(symmetry.size)):
            for use in symmetry.uses:
                found[use.tensor, use.axis] = _entries(shapes[use.tensor][use.axis], order, symmetry, use)
    return found


def _reordered(tensor: Tensor, axis: int, order: Tensor, symmetry: Symmetry, use: Use) -> Tensor:
    return tensor.index_select(axis, _entries(tensor.shape[axis], order, symmetry, use).to(tensor.device))


def _entries(size: int, order: Tensor, symmetry: Symmetry, use: Use) -> Tensor:
    """Which entry comes to each place of an axis of `size` entries."""
    if use.shared:
        each = symmetry.size // symmetry.groups
        order = order[::each] // each
    return torch.arange(size).reshape(use.parts, len(order), -1)[:, order].flatten()


def _by_unit(tensor: Tensor, use: Use, count: int) -> Tensor:
    """All entries that belong to each unit `[count, …]`."""
    first = tensor.movedim(use.axis, 0)
    return first.reshape(use.parts, count, -1).movedim(1, 0).reshape(count, -1)


def _best_order(alike: np.ndarray, alike_shared: np.ndarray) -> np.ndarray:
    """The order that makes the matched units most alike.

    Args:
        alike: how alike each unit of the one is to each of the other `[size, size]`.
        alike_shared: the same of what the members of a group share `[groups, groups]`; groups stay together.
    """
    size, groups = len(alike), len(alike_shared)
    each = size // groups
    if each == 1:
        return np.asarray(linear_sum_assignment(alike + alike_shared, maximize=True)[1])
    blocks = alike.reshape(groups, each, groups, each).swapaxes(1, 2)
    within = np.empty((groups, groups, each), dtype=np.int64)
    value = alike_shared.copy()
    for a, b in np.ndindex(groups, groups):
        rows, within[a, b] = linear_sum_assignment(blocks[a, b], maximize=True)
        value[a, b] += blocks[a, b][rows, within[a, b]].sum()
    matched = linear_sum_assignment(value, maximize=True)[1]
    return np.concatenate([b * each + within[a, b] for a, b in enumerate(matched)])


def _similarity(alike: np.ndarray, alike_shared: np.ndarray, order: np.ndarray) -> float:
    each = len(alike) // len(alike_shared)
    shared = order[::each] // each
    return float(alike[np.arange(len(order)), order].sum() + alike_shared[np.arange(len(shared)), shared].sum())
