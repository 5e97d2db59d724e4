"""What is printed for every mistake of a spec: its place, what is wrong, and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compat_spec.spec import SpecError, load
from tests.spec.conftest import GOOD

MATH_TASK = "math: {use: word_problems}"
BASE_TRAIN = "train: {on: {math: 1, code: 1}, steps: 4}"
TOKENIZER = "tokenizer: {train_on: [math, code], vocab_size: 300}"
MATH = "math: {from: base, train: {on: math, steps: 20, save_at: [5, 10]}}"
AVERAGE = "average: {use: linear, models: [math, code]}"
ALPHA = "alpha: {sweep: [0.25, 0.5]}"
LOSS = "loss: {use: cross_entropy, on: code}"
BETWEEN = "between: [math, code]"
A_STEP = "expected a step, or a sweep over steps: {sweep: [50, 100]}"

CHANGES = [
    # the head of the file
    ("version: 1", "version: 2", ["1:10: version: 2 does not fit; expected 1"]),
    ("name: good", "nam: good", ["2:1: nam: a spec has no 'nam'; did you mean 'name'?"]),
    ("name: good", "name: a b", ["2:7: name: 'a b' does not fit; expected text of letters, digits, `_`, `-` and `.`"]),
    ("seeds: [0, 1]", "seeds: 3", ["3:8: seeds: 3 does not fit; expected a list: [0, 1, 2]"]),
    (
        "seeds: [0, 1]",
        "seeds: [1, 1, -1, 0.5]",
        [
            "3:12: seeds.1: the seed 1 is given twice; name each seed once",
            "3:15: seeds.2: -1 does not fit; expected a whole number from 0 to 4,294,967,295",
            "3:19: seeds.3: 0.5 does not fit; expected a whole number from 0 to 4,294,967,295",
        ],
    ),
    # plugins
    (
        MATH_TASK,
        "math: {use: word_problms}",
        ["5:15: tasks.math.use: no task plugin 'word_problms'; did you mean 'word_problems'?"],
    ),
    (MATH_TASK, "math: {}", ["5:3: tasks.math: needs `use`; it names the plugin: {use: …}"]),
    (MATH_TASK, "math: word_problems", ["5:9: tasks.math: 'word_problems' does not fit; write {use: …}"]),
    (MATH_TASK, "math: {use: [a]}", ["5:15: tasks.math.use: a list does not fit; expected the name of a plugin"]),
    (
        MATH_TASK,
        "math@1: {use: word_problems}\n  " + MATH_TASK,
        [
            "5:3: tasks.math@1: 'math@1' is not a name; a name has letters, digits, `_` and `-`, "
            "and starts with a letter"
        ],
    ),
    # parameters
    (
        MATH_TASK,
        "math: {use: word_problems, scor: all}",
        ["5:30: tasks.math.scor: 'scor' is not a parameter of word_problems; did you mean 'score'?"],
    ),
    (
        MATH_TASK,
        "math: {use: word_problems, score: anwser}",
        ["5:37: tasks.math.score: 'anwser' does not fit; expected 'answer' or 'all'"],
    ),
    (
        TOKENIZER,
        "tokenizer: {train_on: [math, code], vocab_siz: 300}",
        ["11:41: models.base.tokenizer.vocab_siz: 'vocab_siz' is not known here; did you mean 'vocab_size'?"],
    ),
    (
        BASE_TRAIN,
        "train: {on: {math: 1, code: x}, steps: 4}",
        ["12:33: models.base.train.on.code: 'x' does not fit; expected a number"],
    ),
    (
        BASE_TRAIN,
        "train: {on: code, steps: true, lr: 1e-3x}",
        [
            "12:30: models.base.train.steps: true does not fit; expected a number, not a truth value",
            "12:40: models.base.train.lr: '1e-3x' does not fit; expected a number",
        ],
    ),
    (
        BASE_TRAIN,
        "train: {steps: 0}",
        [
            "12:5: models.base.train: needs `on`; the task to train on, or several with weights",
            "12:20: models.base.train.steps: 0 does not fit; expected at least 1",
        ],
    ),
    (
        BASE_TRAIN,
        "train: 3",
        ["12:12: models.base.train: 3 does not fit; expected a mapping: {on: …, steps: …}"],
    ),
    (
        BASE_TRAIN,
        "train: {use: fintune, on: code, steps: 4}",
        ["12:18: models.base.train.use: no trainer plugin 'fintune'; did you mean 'finetune'?"],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: math}",
        ["20:34: merges.average.models: 'math' does not fit; expected a list"],
    ),
    (
        AVERAGE,
        "average: {use: regmean, models: [math, code], on: [math, code, math]}",
        ["20:3: merges.average: 3 entries of on for 2 models; give one per model"],
    ),
    (
        AVERAGE,
        "average: {use: fisher, models: [math, code], on: [math, cod], sequences: 0}",
        [
            "20:59: merges.average.on.1: no task 'cod'; did you mean 'code'?",
            "20:76: merges.average.sequences: 0 does not fit; expected at least 1",
        ],
    ),
    (
        AVERAGE,
        "average: {use: fisher, models: [math, code], on: math, weight: [1, -2]}",
        ["20:70: merges.average.weight.1: -2 does not fit; expected at least 0.0"],
    ),
    (
        AVERAGE,
        "average: {use: greedy_soup, models: [math, code]}",
        ["20:3: merges.average: needs `on`; the task whose loss decides"],
    ),
    (
        AVERAGE,
        "average: {use: tsv, models: [math, code]}",
        ["20:3: merges.average: needs `base`; the model that the others were fine-tuned from"],
    ),
    (
        AVERAGE,
        "average: {use: iso_c, models: [math, code], base: bas}",
        ["20:53: merges.average.base: no model 'bas'; did you mean 'base'?"],
    ),
    (
        AVERAGE,
        "average: {use: git_rebasin, models: [math, code], permute: [neurons]}",
        ["20:63: merges.average.permute.0: 'neurons' does not fit; expected 'residual', 'heads' or 'mlp'"],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: []}",
        ["20:34: merges.average.models: an empty list does not fit; expected at least 1 entry"],
    ),
    # names of tasks
    (
        TOKENIZER,
        "tokenizer: {train_on: [math, cod], vocab_size: 300}",
        ["11:34: models.base.tokenizer.train_on.1: no task 'cod'; did you mean 'code'?"],
    ),
    (
        BASE_TRAIN,
        "train: {on: {math: 1, cod: 1}, steps: 4}",
        ["12:27: models.base.train.on: no task 'cod'; did you mean 'code'?"],
    ),
    (LOSS, "loss: {use: cross_entropy, on: cod}", ["24:34: metrics.loss.on: no task 'cod'; did you mean 'code'?"]),
    (
        LOSS,
        "loss: {use: cross_entropy, on: [base, 3]}",
        [
            "24:35: metrics.loss.on.0: 'base' is a model, not a task; tasks: math, code",
            "24:41: metrics.loss.on.1: 3 does not fit; expected the name of a task, or a list of names",
        ],
    ),
    # models
    (
        MATH,
        "math: {from: bas, train: {on: math, steps: 20, save_at: [5, 10]}}",
        ["17:16: models.math.from: no model 'bas'; did you mean 'base'?"],
    ),
    (
        MATH,
        "math: {from: average, train: {on: math, steps: 20, save_at: [5, 10]}}",
        ["17:16: models.math.from: 'average' is a merge, and a model is needed here; models: base, wide, math, code"],
    ),
    (
        MATH,
        "math: {from: math, train: {on: math, steps: 20, save_at: [5, 10]}}",
        ["17:16: models.math.from: math descends from itself: math → math"],
    ),
    (
        MATH + "\n  code: {from: base",
        "math: {from: code, train: {on: math, steps: 20, save_at: [5, 10]}}\n  code: {from: math",
        ["17:16: models.math.from: math descends from itself: math → code → math"],
    ),
    (
        MATH,
        "math: {from: base@2, train: {on: math, steps: 20, save_at: [5, 10]}}",
        ["17:16: models.math.from: base keeps no checkpoint of step 2; its training keeps only its end, step 4"],
    ),
    (
        MATH,
        "math: {from: wide@2, train: {on: math, steps: 20, save_at: [5, 10]}}",
        [
            "17:16: models.math.from: wide keeps no checkpoint of step 2; it is not trained, so it has none",
        ],
    ),
    (
        MATH,
        "math: {from: base@x, train: {on: math, steps: 20, save_at: [5, 10]}}",
        ["17:16: models.math.from: 'base@x' is not a checkpoint; a checkpoint is named by its step: base@100"],
    ),
    (
        "{from: base, train: {on: math",
        "{from: base, use: causal_lm, train: {on: math",
        ["17:22: models.math: both `use` and `from`; a model is a source (`use`) or descends from another (`from`)"],
    ),
    (
        "{from: base, train: {on: math",
        "{from: base, lr: 3, train: {on: math",
        ["17:22: models.math.lr: 'lr' has no place beside `from`; parameters of the training stand under `train`"],
    ),
    (
        "code: {from: base, train: {on: code, steps: 20, save_at: [5, 10]}}",
        "code: {from: base}",
        ["18:3: models.code: needs `train`; a model with `from` is one that is trained further"],
    ),
    # merges
    (
        AVERAGE,
        "average: {use: linear, models: [math, wide]}",
        ["20:34: merges.average.models: linear cannot combine math and wide: hidden_size is 32 and 64, "],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: [math, code], train: {on: math, steps: 3}}",
        ["20:48: merges.average.train: linear has nothing to train; leave `train` out"],
    ),
    (
        AVERAGE,
        "average: {use: routing, models: [math, code], span: 3, train: {on: math, steps: 3, context: 65}}",
        [
            "20:12: merges.average: span: 3 reaches for the MLPs of 3 blocks, and the models have 2",
            "20:65: merges.average.train: a context of 65 tokens is more than the 64 that the model reads",
        ],
    ),
    (
        AVERAGE,
        "average: {use: activation_interpolation, models: [math, code], alpha: [0.1, 0.2, 0.3]}",
        ["20:12: merges.average: 3 weights are given, one per block, and the models have 2 blocks"],
    ),
    (
        "code: {from: base, train: {on: code, steps: 20, save_at: [5, 10]}}",
        "code: {from: base, train: {on: code, steps: 20, save_at: [5, 10], context: 128}}",
        ["18:29: models.code.train: a context of 128 tokens is more than the 64 that the model reads"],
    ),
    (
        AVERAGE,
        "average: {use: logit_average, models: [math, code], train: {on: math, steps: 3}}",
        ["20:55: merges.average.train: logit_average has nothing to train; leave `train` out"],
    ),
    (
        AVERAGE,
        "average: {use: routing, models: [math, code], train: {on: math, steps: 3, save_at: [1]}}",
        [
            "20:77: merges.average.train.save_at: a merge keeps no checkpoints; leave it out: what is measured is the "
            "end of its training"
        ],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: [math, blend]}",
        [
            "20:41: merges.average.models.1: 'blend' is a merge that runs its models, and what it makes is no model of "
            "its own; name a model, or a merge of tensors"
        ],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: [math, twice@5]}\n  twice: {use: ties, models: [average], base: average}",
        ["20:41: merges.average.models.1: twice is a merge, and merges keep no checkpoints; write twice"],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: [math, twice]}\n  twice: {use: ties, models: [math], base: average}",
        ["20:34: merges.average.models: average is made of itself: average → twice → average"],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: [math, code]}\n  twice: {use: linear, models: [average, wide]}",
        [
            "21:32: merges.twice.models: linear cannot combine average and wide: hidden_size is 32 and 64, "
            "vocab_size is 300"
        ],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: [math@7, code@5]}",
        ["20:35: merges.average.models.0: math keeps no checkpoint of step 7; it keeps 5, 10 and 20"],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: [math, code], at: 7}",
        [
            "20:52: merges.average.at: code keeps no checkpoint of step 7; it keeps 5, 10 and 20",
            "20:52: merges.average.at: math keeps no checkpoint of step 7; it keeps 5, 10 and 20",
        ],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: [math, code], at: [5, 10]}",
        [f"20:52: merges.average.at: a list does not fit; {A_STEP}"],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: [base], at: 3}",
        [
            "20:46: merges.average.at: none of these models keeps checkpoints, so none has a step 3; "
            "let their training keep that step"
        ],
    ),
    (
        AVERAGE,
        "average: {use: linear, models: [math@5, code@5], at: 5}",
        ["20:56: merges.average.at: every model is named with a step of its own; leave `at` out"],
    ),
    (
        AVERAGE,
        "code: {use: linear, models: [math, code]}",
        ["20:3: merges.code: 'code' is a model already; models and merges need different names"],
    ),
    (
        AVERAGE,
        "all: {use: linear, models: [math, code]}",
        ["20:3: merges.all: 'all' cannot be a name here; `of: all` means every model and merge"],
    ),
    (
        "models: [math, code, base], train: {on: code, steps: 2}}",
        "models: [math, code, base]}",
        ["22:3: merges.router: needs `train`; routing is of no use untrained: train: {on: …, steps: …}"],
    ),
    # sweeps
    (ALPHA, "alpha: {sweep: []}", ["21:79: merges.blend.alpha: a sweep over no values; give at least one"]),
    (
        ALPHA,
        "alpha: {sweep: 3}",
        ["21:79: merges.blend.alpha: a sweep over 3; write a list, or {from: 0, to: 1, num: 11}"],
    ),
    (
        ALPHA,
        "alpha: {sweep: [1], zp: a}",
        ["21:84: merges.blend.alpha: 'zp' cannot stand beside `sweep`; did you mean 'zip'?"],
    ),
    (
        ALPHA,
        "alpha: {sweep: [{sweep: [1]}]}",
        ["21:80: merges.blend.alpha: a sweep inside a sweep; write all values into one list"],
    ),
    (
        ALPHA,
        "alpha: {sweep: {from: 0, too: 1, num: x}}",
        [
            "21:79: merges.blend.alpha: the range needs `to`; write {from: 0, to: 1, num: 11}",
            "21:89: merges.blend.alpha: 'too' is not a part of a range; did you mean 'to'?",
            "21:102: merges.blend.alpha: `num` is 'x'; expected a whole number from 1 to 10,000",
        ],
    ),
    (
        ALPHA,
        "alpha: {sweep: {from: 0, to: 1, num: 3, scale: log}}",
        ["21:86: merges.blend.alpha: `from` is 0; a range with `scale: log` is above 0"],
    ),
    (
        ALPHA + ", at: {sweep: [5, 20]}",
        "alpha: {sweep: [0.1, 0.2, 0.3], zip: a}, at: {sweep: [5, 10], zip: a}",
        [
            "21:109: merges.blend.at: 2 values but merges.blend.alpha has 3 under `zip: a`; "
            "sweeps that vary together need equally many"
        ],
    ),
    (
        ALPHA,
        "alpha: {sweep: {from: 0, to: 1, num: 9000}}",
        ["21:3: merges.blend: the sweeps span 18,000 points; at most 10,000 in one declaration"],
    ),
    (
        MATH_TASK,
        "math: {use: {sweep: [word_problems, text]}}",
        ["5:15: tasks.math.use: this cannot be swept; declare one for each"],
    ),
    (  # once, not for each point of the other sweep
        ALPHA,
        "alpha: {sweep: [0.25, x]}, kind: 3",
        [
            "21:86: merges.blend.alpha: ",
            "21:91: merges.blend.kind: 'kind' is not a parameter of activation_interpolation; ",
        ],
    ),
    # metrics
    (
        LOSS,
        "loss: {use: cross_entropy}",
        ["24:3: metrics.loss: needs `on`; the task to measure on, or a list of tasks"],
    ),
    (
        LOSS,
        "loss: {use: cross_entropy, on: code, of: [math, routr, router@2]}",
        [
            "24:51: metrics.loss.of.1: no model or merge 'routr'; did you mean 'router'?",
            "24:58: metrics.loss.of.2: router is a merge, and merges keep no checkpoints; "
            "write router; checkpoints of its experts: `at` of the merge",
        ],
    ),
    (
        LOSS,
        "loss: {use: cross_entropy, on: code, of: router, at: 5}",
        [
            "24:56: metrics.loss.at: `at` chooses checkpoints of models, and `of` names only merges; "
            "a merge has an `at` of its own"
        ],
    ),
    (
        LOSS,
        "loss: {use: cross_entropy, on: code, at: 6}",
        ["24:44: metrics.loss.at: no model keeps a checkpoint of step 6; kept are 5, 10"],
    ),
    (
        LOSS,
        "loss: {use: cross_entropy, on: code, at: {sweep: [5, x]}}",
        [f"24:56: metrics.loss.at: 'x' does not fit; {A_STEP}"],
    ),
    (
        LOSS,
        "loss: {use: cross_entropy, on: code, between: [math, code]}",
        ["24:40: metrics.loss.between: 'between' is not a parameter of cross_entropy; "],
    ),
    (
        LOSS,
        "loss: {use: router_load, on: code, of: [average, math]}",
        [
            "24:42: metrics.loss: router_load is measured of merges that route, and there is none; "
            "name a merge with routers in `of`"
        ],
    ),
    (
        BETWEEN + ", ",
        "",
        ["25:3: metrics.cka: needs `between`; the two models to compare: between: [a, b]"],
    ),
    (
        BETWEEN,
        "between: [math, average]",
        [
            "25:35: metrics.cka.between.1: 'average' is a merge, and a model is needed here; "
            "models: base, wide, math, code"
        ],
    ),
    (BETWEEN, "between: [math]", ["25:28: metrics.cka.between: a list of 1 does not fit; expected two models: [a, b]"]),
    (
        BETWEEN,
        "between: [math, wide]",
        ["25:28: metrics.cka.between: cka cannot compare math and wide: vocab_size is 300 and 400"],
    ),
    (
        "at: {sweep: [5, 10]}",
        "at: {sweep: [5, 11]}",
        [
            "25:68: metrics.cka.at: code keeps no checkpoint of step 11; it keeps 5, 10 and 20",
            "25:68: metrics.cka.at: math keeps no checkpoint of step 11; it keeps 5, 10 and 20",
        ],
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES, ids=[new[:50] for _, new, _ in CHANGES])
def test_a_mistake_is_reported_once_at_its_place(
    problems_of: Callable[..., list[str]], old: str, new: str, expected: list[str]
) -> None:
    assert old in GOOD
    assert_lines(problems_of(GOOD.replace(old, new, 1)), [f"spec.yaml:{line}" for line in expected])


ODD = [
    (
        "{use: odd_missing}",
        ["5:15: tasks.math.use: the plugin 'odd_missing' of odd-plugins does not load: ModuleNotFoundError: "],
    ),
    (
        "{use: odd_number}",
        [
            "5:15: tasks.math.use: the plugin 'odd_number' of odd-plugins does not load: "
            "odd_plugins:NOT_A_TASK is not a compat_spec.components.Task"
        ],
    ),
    (
        "{use: odd_merge}",
        ["5:15: tasks.math.use: 'odd_merge' is for merges, not for tasks; installed: "],
    ),
    ("{use: odd_task, crash: true}", ["5:3: tasks.math: the plugin 'odd_task' failed: RuntimeError: boom"]),
    ("{use: odd_task, mend: true}", ["5:3: tasks.math: the file of examples is missing"]),
    ("{use: odd_task, either: x}", ["5:33: tasks.math.either: 'x' does not fit; expected a number or a list"]),
    ("{use: odd_task, either: [1, x]}", ["5:37: tasks.math.either.1: 'x' does not fit; expected a number"]),
    (
        "{use: odd_task, nested: {a: [1, 2, x]}}",
        ["5:44: tasks.math.nested.a.2: 'x' does not fit; expected a whole number"],
    ),
    ("{use: odd_task, pair: [1]}", ["5:31: tasks.math.pair: a list of 1 does not fit; expected more entries"]),
]


@pytest.mark.usefixtures("odd_plugins")
@pytest.mark.parametrize(("task", "expected"), ODD, ids=[task for task, _ in ODD])
def test_plugins_of_others_cannot_break_it(
    problems_of: Callable[..., list[str]], task: str, expected: list[str]
) -> None:
    found = problems_of(GOOD.replace("{use: word_problems}", task, 1))
    assert_lines(found, [f"spec.yaml:{line}" for line in expected])


@pytest.mark.usefixtures("odd_plugins")
def test_whatever_a_source_or_trainer_raises_is_a_mistake_of_the_spec(problems_of: Callable[..., list[str]]) -> None:
    assert problems_of(
        "models:\n  a: {use: odd_source, crash: true}\n  b: {use: odd_source, train: {use: odd_trainer, wrong: true}}\n"
    ) == [
        "spec.yaml:2:12: models.a: the plugin 'odd-plugins:odd_source' failed: OSError: no config.json",
        "spec.yaml:3:24: models.b.train: the plugin 'odd-plugins:odd_trainer' failed: ZeroDivisionError: "
        "integer division or modulo by zero",
    ]


@pytest.mark.usefixtures("odd_plugins")
def test_models_that_other_fields_name_must_exist(problems_of: Callable[..., list[str]]) -> None:
    merge = "average: {use: odd_merge, models: [math, code], base: bse, weights: {math: 1, cod: 2}}"
    assert problems_of(GOOD.replace(AVERAGE, merge)) == [
        "spec.yaml:20:57: merges.average.base: no model 'bse'; did you mean 'base'?",
        "spec.yaml:20:81: merges.average.weights: no model 'cod'; did you mean 'code'?",
    ]


@pytest.mark.usefixtures("odd_plugins")
def test_models_are_compared_at_the_points_where_they_meet(
    write: Callable[..., Path], problems_of: Callable[..., list[str]]
) -> None:
    spec = """\
models:
  a: {use: odd_source, width: {sweep: [8, 16], zip: w}}
  b: {use: odd_source, width: {sweep: [8, 16], zip: w}}
merges:
  m: {use: odd_merge, models: [a, b]}
"""
    load(write(spec))
    assert problems_of(spec.replace("zip: w}}\n  b", "zip: v}}\n  b")) == [
        "spec.yaml:5:31: merges.m.models: odd-plugins:odd_merge cannot combine a and b: hidden_size is 8 and 16; "
        "the models must have the same shapes"
    ]


def test_every_mistake_of_a_file_is_reported_in_its_order(problems_of: Callable[..., list[str]]) -> None:
    spec = GOOD.replace("version: 1", "version: 7")
    for old, new in [
        ("word_problems", "word_problms"),
        ("[math, code], vocab", "[math, cod], vocab"),
        (LOSS, "loss: 3"),
    ]:
        spec = spec.replace(old, new, 1)
    lines = problems_of(spec.replace("{from: base, train: {on: code", "{from: bas, train: {on: coed"))
    assert [line.split(": ")[0] for line in lines] == [
        f"spec.yaml:{place}" for place in ("1:10", "5:15", "11:34", "18:16", "18:33", "24:9")
    ]


def test_what_follows_from_a_mistake_is_not_reported(problems_of: Callable[..., list[str]]) -> None:
    # the checkpoints of math are not known, nor is what it has in common with code
    spec = GOOD.replace("{on: math, steps: 20, save_at: [5, 10]}", "{on: math, steps: x, save_at: [5, 10]}")
    assert problems_of(spec) == ["spec.yaml:17:47: models.math.train.steps: 'x' does not fit; expected a whole number"]
    assert problems_of(GOOD.replace("use: causal_lm", "use: causal", 1)) == [
        "spec.yaml:9:10: models.base.use: no model plugin 'causal'; did you mean 'causal_lm'?"
    ]


def test_names_of_a_section_that_cannot_be_read_are_not_missed(problems_of: Callable[..., list[str]]) -> None:
    spec = GOOD.replace("tasks:\n  math: {use: word_problems}\n  code: {use: python_source}\n", "tasks: 3\n")
    assert problems_of(spec) == ["spec.yaml:4:8: tasks: 3 does not fit; expected a mapping from names to tasks"]
    assert problems_of(spec.replace("tasks: 3", "tasks:")) != []


def test_a_spec_that_declares_nothing(problems_of: Callable[..., list[str]]) -> None:
    expected = ["spec.yaml:1:1: the spec declares nothing; declare `tasks`, `models`, `merges` and `metrics`"]
    assert problems_of("version: 1\ntasks:\nmodels: {}\n") == expected


def test_a_file_whose_name_cannot_be_the_experiments(write: Callable[..., Path]) -> None:
    text = GOOD.replace("name: good\n", "")
    assert load(write(text, "good-1.yaml")).name == "good-1"
    with pytest.raises(SpecError, match=r"my spec\.yaml:1:1: name: the file's name 'my spec' cannot be"):
        load(write(text, "my spec.yaml"))


def assert_lines(found: list[str], expected: list[str]) -> None:
    """A line that is expected to end in a space or a number of a shape may go on."""
    assert len(found) == len(expected), "\n".join(found)
    for line, start in zip(found, expected, strict=True):
        assert line == start or (line.startswith(start) and start[-1] in " 0"), f"{line}\n{start}"
