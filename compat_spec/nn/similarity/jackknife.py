"""How uncertain a similarity is: its standard error over the draw of tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from compat_spec.nn.similarity.compute import function_of
from compat_spec.nn.similarity.feature_space import cross_product
from compat_spec.nn.similarity.gram import LinearKernel, gram_sums
from compat_spec.nn.similarity.hsic import gram_is_cheaper, hsic_of_part, unbiased_of_centred
from compat_spec.nn.similarity.inputs import checked, exact_products, product_dtype
from compat_spec.nn.similarity.layer import Layer, keep_if_small, layers_of_both
from compat_spec.nn.similarity.undefined import untold

_MUCH_LEFT = 1 / 8
"""Where less of a layer's variance is left without some tokens, sums without them are made in float64."""
_ONLY_ROUNDING = 1e-12


def standard_error(
    measure: str, xs: Sequence[Tensor] | Tensor, ys: Sequence[Tensor] | Tensor, *, groups: int = 20, **options: Any
) -> Tensor:
    """The standard error of each similarity: `[len(xs), len(ys)]`, float64.

    The jackknife that leaves out a group of tokens at a time (Efron, Stein, "The Jackknife Estimate of Variance", 1981;
    Künsch, "The Jackknife and the Bootstrap for General Stationary Observations", 1989, for groups of neighbours):
    sqrt((g - 1) / g Σ (s_i - mean)²) over the similarities s_i of all tokens but those of group i. Tokens of one text
    depend on each other, so a group is a run of neighbouring tokens: give tokens in the order of the text, and make
    groups longer than what depends on each other reaches.

    For linear `cka` it takes about as long as the similarity, for other measures `groups` times that.

    Args:
        measure, xs, ys, options: as of `similarity`.
        groups: into how many groups of equal size, to a token, the tokens are divided; 2 at least.

    It says nothing of the bias, such as that of biased CKA of few tokens in wide features. NaN where a similarity is.

    Raises `ValueError` as `similarity` does, also where a measure needs more tokens than are left.
    """
    function = function_of(measure, options)
    left, right = checked(xs, ys)
    n = len(left[0])
    if not 2 <= groups <= n:
        raise ValueError(f"groups must be at least 2 and no more than the {n} tokens, not {groups}")
    bounds = [n * g // groups for g in range(groups + 1)]
    parts = [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
    with exact_products(left[0].device), untold():
        if measure == "cka" and options.get("kernel", "linear") == "linear" and options.get("batch_size") is None:
            without = _linear_cka_without(left, right, parts, bool(options.get("unbiased", False)))
        else:
            without = torch.stack([function(*_without(left, right, part), **options) for part in parts])
    return ((groups - 1) * without.var(dim=0, correction=0)).sqrt()


def _without(xs: Sequence[Tensor], ys: Sequence[Tensor], part: slice) -> tuple[list[Tensor], list[Tensor]]:
    rest = {id(x): torch.cat([x[: part.start], x[part.stop :]]) for x in (*xs, *ys)}
    return [rest[id(x)] for x in xs], [rest[id(y)] for y in ys]


def _linear_cka_without(xs: Sequence[Tensor], ys: Sequence[Tensor], parts: Sequence[slice], unbiased: bool) -> Tensor:
    """CKA of all tokens but those of each part: `[parts, len(xs), len(ys)]`."""
    if unbiased and len(xs[0]) - max(part.stop - part.start for part in parts) < 4:
        raise ValueError("unbiased CKA needs at least 4 tokens, and fewer are left without a group: have more groups")
    for dtype in dict.fromkeys((product_dtype(xs, ys), torch.float64)):
        left, right, same = layers_of_both(xs, ys, dtype)
        rest_x, rest_y = (torch.stack([_variance_without(x, parts) for x in side]) for side in (left, right))
        if bool((torch.cat([rest_x, rest_y]) > _MUCH_LEFT).all()):
            break
    keep_if_small([*left, *right], dtype)
    if gram_is_cheaper(left, right, same=same):
        found = _from_gram(left, right, parts, unbiased, dtype, same=same)
    else:
        found = _from_features(left, right, parts, unbiased)
    vary = torch.minimum(rest_x[:, None], rest_y[None]) > _ONLY_ROUNDING  # [len(xs), len(ys), parts]
    return torch.where(vary.movedim(2, 0), found, torch.nan)


def _variance_without(x: Layer, parts: Sequence[slice]) -> Tensor:
    """The share of a layer's variance that is left without each part, `[parts]`; small where a few tokens have most."""
    whole = x.square_norms.sum()
    shares = []
    for part in parts:
        rest = x.n - (part.stop - part.start)
        # all tokens' features sum to zero
        of_mean = x.rows(part).double().sum(dim=0).square().sum() / rest
        shares.append((whole - x.square_norms[part].sum() - of_mean) / whole)
    return torch.stack(shares)


def _from_gram(
    xs: Sequence[Layer], ys: Sequence[Layer], parts: Sequence[slice], unbiased: bool, dtype: torch.dtype, *, same: bool
) -> Tensor:
    """What is left of the sums over kernel matrices without some rows and the same columns."""
    kernels = {layer: LinearKernel(layer) for layer in (*xs, *ys)}
    like = torch.empty((), dtype=dtype, device=xs[0].device)
    sums = gram_sums([kernels[x] for x in xs], [kernels[y] for y in ys], like, parts, same=same)
    found = []
    for g, part in enumerate(parts):

        def rest(total: Tensor, g: int = g) -> Tensor:
            return total.sum(dim=(0, 1)) - 2 * total[g].sum(dim=0) + total[g, g]

        def kept(values: Tensor, part: slice = part) -> Tensor:
            values = values.clone()
            values[:, part] = 0
            return values

        n = parts[-1].stop - (part.stop - part.start)
        k, l = (kept(rows.sum(dim=2) - rows[..., g]) for rows in (sums.rows_x, sums.rows_y))  # noqa: E741
        d, e = kept(sums.diagonal_x), kept(sums.diagonal_y)
        cross = hsic_of_part(rest(sums.cross), k, l, d, e, n, unbiased)
        own = [
            hsic_of_part(
                rest(off)[:, None, None], rows[:, None], rows[:, None], diag[:, None], diag[:, None], n, unbiased
            )
            for off, rows, diag in ((sums.own_x, k, d), (sums.own_y, l, e))
        ]
        found.append(cross / (own[0].flatten()[:, None] * own[1].flatten()).sqrt())
    return torch.stack(found)


def _from_features(xs: Sequence[Layer], ys: Sequence[Layer], parts: Sequence[slice], unbiased: bool) -> Tensor:
    """What is left of X'Y without the products of some tokens, and with the means of the others taken off."""
    n = parts[-1].stop
    sizes = torch.tensor([n - (part.stop - part.start) for part in parts], dtype=torch.float64, device=xs[0].device)
    layers = list(dict.fromkeys((*xs, *ys)))
    totals = {x: torch.stack([x.rows(part).double().sum(dim=0) for part in parts]) for x in layers}
    lengths = {x: _lengths_without(x, totals[x], parts) for x in layers} if unbiased else {}

    def left_over(x: Layer, y: Layer) -> Tensor:
        products = [cross_product(x, y, rows=part) for part in parts]
        whole = torch.stack(products).sum(dim=0)
        traces = []
        for product, a, b, size in zip(products, totals[x], totals[y], sizes, strict=True):
            # all tokens' features sum to zero, and so those of the others to minus the sum of these
            traces.append((whole - product).addr_(a, b, alpha=-1 / float(size)).square_().sum())
        trace = torch.stack(traces)
        if not unbiased:
            return trace
        k, l = lengths[x], lengths[y]  # noqa: E741
        sums = k.sum(dim=1) * l.sum(dim=1)
        return unbiased_of_centred(trace, (k * l).sum(dim=1), sums, sizes)

    own = {x: left_over(x, x) for x in layers}
    rows = [[left_over(x, y) / (own[x] * own[y]).sqrt() for y in ys] for x in xs]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _lengths_without(x: Layer, totals: Tensor, parts: Sequence[slice]) -> Tensor:
    """The squared lengths of features less the mean of all tokens but those of a part, and zero for these:
    `[parts, n]`."""
    lengths = torch.empty(len(parts), x.n, dtype=torch.float64, device=x.device)
    for g, part in enumerate(parts):
        mean = -totals[g] / (x.n - (part.stop - part.start))
        along = torch.cat([x.rows(block).double() @ mean for block in x.blocks()])
        lengths[g] = x.square_norms - 2 * along + mean.square().sum()
        lengths[g, part] = 0
    return lengths
