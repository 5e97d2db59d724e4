"""`compat explain`: why a step would run again."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from typer.testing import CliRunner

from compat_spec.cli.main import app
from compat_spec.errors import CompatError
from tests.run.experiments import Workplace


def explained(place: Workplace, step: str, *overrides: str, spec: bool = True) -> list[str]:
    where = ["--store", str(place.store.root), "--results", str(place.folder / "results.db")]
    changes = [part for override in overrides for part in ("--set", override)]
    arguments = ["explain", step, *([str(place.spec)] if spec else []), *where, *changes]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stdout
    return result.stdout.splitlines()


def reasons(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if line.startswith(" ")]


def test_what_is_done_is_done(done: Workplace) -> None:
    (line,) = explained(done, "train one", spec=False)  # the spec of the last run
    assert line.startswith(f"train one ({done.fingerprint('train one')[:12]}): done, made ")


def test_a_parameter_that_has_changed_is_named_with_both_values(done: Workplace) -> None:
    title, reason = explained(done, "merge router", "merges.router.train.steps=5")
    assert title.startswith("merge router")
    assert ": to do; compared with the one made" in title
    assert reason == "  trainer.steps: 4 → 5"


def test_a_change_further_up_is_followed_to_its_cause(done: Workplace) -> None:
    changed = "models.two.train.lr=0.002"
    assert reasons(explained(done, "loss of router on program", changed)) == [
        "  network is another: merge router",
        "    merge.models[1] is another: train two",
        "      trainer.lr: 0.001 → 0.002",
    ]


def test_a_checkpoint_that_has_changed_is_named(done: Workplace) -> None:
    changed = "merges.average.models=[one@3,two]"
    assert reasons(explained(done, "merge average", changed)) == [
        "  merge.models[0] is another: train one",
        "    the checkpoint: its end → step-3",
    ]


def test_another_plugin_and_an_edited_plugin_are_told_apart(done: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    (reason,) = reasons(explained(done, "loss of base on program", "metrics.loss.use=perplexity"))
    assert reason == "  metric: cross_entropy → perplexity"
    monkeypatch.setattr("compat_spec.registry.source_identity", lambda _, name: f"{name}:99")
    reason, *_ = reasons(explained(done, "loss of base on program"))
    assert reason == "  the code of cross_entropy has changed: version 2 → 99"


def test_words_of_a_label_mean_every_step_that_has_them(done: Workplace) -> None:
    lines = explained(done, "blend", "merges.blend.alpha.sweep=[0.25, 0.5]")
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert len(titles) == 4 * 3  # two alphas at two steps, each merged and measured twice
    assert sum("to do" in title for title in titles) == 6
    assert "  merge.alpha: 0.75 → 0.5" in lines


def test_the_beginning_of_a_fingerprint_means_one_step(done: Workplace) -> None:
    (line,) = explained(done, done.fingerprint("merge average")[:10])
    assert line.startswith("merge average")


def test_what_was_never_made_has_nothing_to_be_compared_with(place: Workplace) -> None:
    place.plan()
    title, reason = explained(place, "merge average")
    assert title.endswith(": to do")
    assert reason == "  the store has nothing like it: it was never made, or removed"


def test_what_only_serves_what_is_done_is_not_needed(done: Workplace) -> None:
    done.store.remove(done.fingerprint("train one"))
    done.store.remove(done.fingerprint("merge average"))
    title, reason = explained(done, "merge average")
    assert title.endswith(": not needed")
    assert reason == "  the store does not have it, but has all that is made of it"


def test_a_composed_network_whose_models_are_gone_says_which(done: Workplace) -> None:
    done.store.remove(done.fingerprint("train two"))
    done.store.remove(done.fingerprint("loss of router on program"))
    title, reason = explained(done, "merge router")
    assert ": to do" in title
    assert reason == "  its artifact is there, but needs train two, which is gone"


def test_an_engine_that_computes_differently_says_so(done: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compat_spec.plan.fingerprint.FORMAT", 99)
    (reason, *_) = reasons(explained(done, "examples of math"))
    assert reason == "  the engine computes such steps in another way since"


def test_a_step_that_is_not_there_is_an_error(done: Workplace) -> None:
    with pytest.raises(CompatError, match=r"the plan has no step 'train three'; compat plan SPEC --steps lists them"):
        explained(done, "train three")


def test_without_runs_a_spec_must_be_named(place: Workplace) -> None:
    with pytest.raises(CompatError, match=r"there is no .*results\.db"):
        explained(place, "train one", spec=False)
