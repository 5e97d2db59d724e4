"""Standard errors are those of leaving out a group of tokens at a time, and of the size of what draws differ by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from compat_spec.nn.similarity import jackknife, similarity, standard_error
from tests.nn.similarity.made_up import gaussian, related

CASES: list[tuple[str, dict[str, Any]]] = [
    ("cka", {}),
    ("cka", {"unbiased": True}),
    ("cka", {"kernel": "rbf"}),
    ("cka", {"batch_size": 16}),
    ("mutual_knn", {"k": 5}),
    ("cknna", {"k": 5}),
    ("svcca", {}),
    ("pwcca", {}),
    ("procrustes", {}),
    ("rsa", {}),
]


def by_leaving_out(measure: str, xs: list[Tensor], ys: list[Tensor], groups: int, **options: Any) -> Tensor:
    n = len(xs[0])
    found = []
    for g in range(groups):
        kept = [i for i in range(n) if not n * g // groups <= i < n * (g + 1) // groups]
        found.append(similarity(measure, [x[kept] for x in xs], [y[kept] for y in ys], **options))
    without = torch.stack(found)
    return ((groups - 1) / groups * (without - without.mean(dim=0)).square().sum(dim=0)).sqrt()


@pytest.mark.parametrize(("measure", "options"), CASES)
def test_is_the_jackknife_over_runs_of_tokens(measure, options):
    xs, ys = related(101, [9, 14], 1), related(101, [12], 5)
    found = standard_error(measure, xs, ys, groups=7, **options)
    assert found.shape == (2, 1)
    torch.testing.assert_close(found, by_leaving_out(measure, xs, ys, 7, **options), atol=1e-9, rtol=0)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("gram", [False, True])
def test_linear_cka_is_the_same_in_gram_and_feature_space(monkeypatch, gram, unbiased):
    xs = [(x + 100).float() for x in related(90, [30, 8], 1)]
    monkeypatch.setattr(jackknife, "gram_is_cheaper", lambda *_, same: gram)
    for ys in (xs, [y.float() for y in related(90, [12], 5)]):
        found = standard_error("cka", xs, ys, groups=11, unbiased=unbiased)
        expected = by_leaving_out("cka", xs, ys, 11, unbiased=unbiased)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize(("measure", "options"), [case for case in CASES if case[0] in ("cka", "procrustes", "rsa")])
def test_is_what_fresh_samples_differ_by(measure, options):
    maps = gaussian(3, 6, seed=1), gaussian(3, 5, seed=2)

    def draw(seed: int) -> tuple[list[Tensor], list[Tensor]]:
        causes = gaussian(120, 3, seed=1000 + seed)
        noise = gaussian(120, 11, seed=2000 + seed)
        return [causes @ maps[0] + noise[:, :6]], [causes @ maps[1] + noise[:, 6:]]

    draws = [draw(seed) for seed in range(60)]
    spread = torch.stack([similarity(measure, *one, **options) for one in draws]).std()
    told = torch.stack([standard_error(measure, *one, groups=20, **options) for one in draws[:12]]).mean()
    assert 0.7 < float(told / spread) < 1.4


def test_groups_of_dependent_tokens_tell_more_uncertainty_than_tokens_one_by_one():
    def repeated(x: Tensor) -> Tensor:
        return x.repeat_interleave(10, dim=0)

    xs, ys = [repeated(x) for x in related(40, [6], 1)], [repeated(y) for y in related(40, [5], 2)]
    runs, single = (standard_error("cka", xs, ys, groups=groups) for groups in (40, 400))
    assert float(runs) > 2.5 * float(single)


def test_a_layer_with_itself_has_no_uncertainty_and_a_constant_one_no_similarity():
    xs = related(40, [6], 1)
    found = standard_error("cka", [*xs, torch.ones(40, 3, dtype=torch.float64)], xs)
    assert float(found[0]) == pytest.approx(0, abs=1e-12)
    assert bool(found[1].isnan())


@pytest.mark.parametrize(
    ("groups", "options", "message"),
    [
        (1, {}, "at least 2"),
        (9, {}, "no more than the 8 tokens"),
        (2, {"unbiased": True, "kernel": "linear"}, None),
        (20, {"sharpness": 1}, "no option 'sharpness'"),
    ],
)
def test_groups_that_make_no_sense_are_named(groups, options, message):
    x = gaussian(8, 3)
    if message is None:
        assert standard_error("cka", [x], [x], groups=groups, **options).isfinite().all()
        with pytest.raises(ValueError, match="fewer are left without a group"):
            standard_error("cka", [x[:7]], [x[:7]], groups=groups, **options)
        return
    with pytest.raises(ValueError, match=message):
        standard_error("cka", [x], [x], groups=groups, **options)
