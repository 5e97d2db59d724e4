"""What is said of configurations of mergekit that are wrong, or that a spec cannot say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.importers.imports import BARE, TWO, complaints


def test_everything_that_cannot_be_said_is_named_at_once_with_its_place(folder: Path) -> None:
    config = """\
merge_method: linaer
models:
  - model: a/b+c/lora
    parameters: {weight: 1}
  - modl: x
modules: {text: {}, vision: {}}
dtype: int64
tokenizer: {source: /other/x, tokens: {a: {source: b}}, pad_to_multiple_of: 8}
"""
    assert complaints(folder, config) == [
        "merge.yml:1:15: merge_method: mergekit 0.1.5 has no method 'linaer'; did you mean 'linear'?",
        "merge.yml:3:12: models.0.model: the adapter c/lora is no folder beside this file; "
        "fetch it, and name its folder",
        "merge.yml:5:5: models.1: a mapping names no `model`; write {model: …}",
        "merge.yml:6:1: modules: text, vision cannot be merged one by one; name whole `models`, or one module",
        "merge.yml:7:8: dtype: a result cannot be stored in 'int64'; there are float64, float32, bfloat16, float16",
        "merge.yml:8:21: tokenizer.source: there is no folder /other/x, and it cannot be the id of a model on a hub; "
        f"paths start at {folder}",
        "merge.yml:8:39: tokenizer.tokens: rows of single tokens cannot be chosen: each token has that of the models "
        "that know it; leave it out",
        "merge.yml:8:77: tokenizer.pad_to_multiple_of: the result has as many rows as the tokenizer needs or its model "
        "has; leave it out",
    ]


SLICED = "slices:\n- sources:\n  - {model: models/math, layer_range: [0, 4]}\n"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("merge_method: slerp\nparameters: {t: 1}\n" + BARE, "1:1: base_model: slerp needs a base model"),
        ("merge_method: slerp\nbase_model: models/math\n" + BARE, "parameters.t: the merge needs `t`"),
        ("merge_method: linear\n" + BARE, "3:3: models.0.parameters: math needs `weight`"),
        ("merge_method: linear\nparameters: {weight: x}\n" + BARE, "2:22: parameters.weight: 'x' does not fit"),
        (
            "merge_method: linear\nparameters: {weight: 1, normalize: [1, 0]}\n" + BARE,
            "2:36: parameters.normalize: normalize cannot change over depth",
        ),
        (
            "merge_method: linear\nparameters: {weight: [{filter: mlp, value: 1}]}\n" + BARE,
            "parameters.weight: nothing is said for the tensors that no filter fits",
        ),
        ("merge_method: linear\nparameters: {weight: [{filter: mlp}]}\n" + BARE, "a mapping has no `value`"),
        ("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a/b}, {model: a/b}]", "b is named twice"),
        ("merge_method: linear\n" + TWO + SLICED, "1:1: there must be either `models` or `slices`"),
        (
            "merge_method: linear\nparameters: {weight: 1}\n" + SLICED + "  - {model: a/b, layer_range: [1, 6]}",
            "4:3: slices.0: the sources of a slice have different numbers of layers: 4, 5",
        ),
        (
            "merge_method: linear\nparameters: {weight: 1}\n"
            + SLICED
            + "  - {model: models/code, layer_range: [1, 5]}",
            "6:5: slices.0.sources.1.layer_range: layers [1, 5] are taken of code, which has 4",
        ),
        (
            "merge_method: ties\nbase_model: models/base\nparameters: {weight: 1}\n" + SLICED.replace("4", "2"),
            "5:3: slices.0: the base model base is not among the sources, so its layers are not known; add it, with",
        ),
        (
            "merge_method: karcher\nparameters: {tol: [{filter: layers.1., value: 1}, {value: 2}]}\n"
            + SLICED.replace("4", "2"),
            "parameters.tol.0.filter: a filter with a number means a layer of the model that it comes from",
        ),
        ("merge_method: linear\nmodels: {model: a/b}", "2:9: models: a mapping does not fit; expected a list"),
        ("merge_method: linear\nparameters: [weight]\n" + BARE, "2:13: parameters: a list does not fit; expected {"),
        (
            "merge_method: linear\nmodels: [{model: ./x}]",
            "2:18: models.0.model: there is no folder ./x; paths start at",
        ),
        ("merge_method: moe\n" + BARE, "merge_method: this is a configuration of mergekit-moe, which makes a mixture"),
        ("gate_mode: hidden\nexperts: [{source_model: a/b}]", "2:1: experts: this is a configuration of mergekit-moe"),
        ("genome: {models: [a/b]}", "1:1: genome: this is a configuration of mergekit-evolve, which searches"),
        (
            "merge_method: model_stock\nbase_model: a/b\nmodels: [{model: a/c}]",
            "3:10: models: model_stock does not take this: it needs at least 2 models beside the base, and there are 1",
        ),
        (
            "merge_method: slerp\nbase_model: a/b\nparameters: {t: 1}\n" + BARE,
            "5:3: models: slerp does not take this: it needs at most 2 models, and there are 3",
        ),
        (
            "merge_method: ties\nbase_model: a/b\nparameters: {weight: 1, density: 2}\n" + BARE,
            "3:25: parameters.density: ties does not take this: Input should be less than or equal to 1",
        ),
        ("name: a\n" + "merge_method: karcher\n" + BARE + "---\n[]", "7:1: here is an empty list, and a mapping is"),
        ("", "1:1: the file is empty"),
        (
            "name: a\nmerge_method: karcher\n" + BARE + "---\nname: a\nmerge_method: karcher\n" + BARE,
            "7:7: name: two merges are called a; give each one of its own; one may be without",
        ),
        (
            "name: a\nmerge_method: karcher\nmodels: [{model: b}]\n---\nname: b\nmerge_method: karcher\n"
            "models: [{model: a}]",
            "1:1: name: a is made of itself: a → b → a",
        ),
        ("merge_method: passthrough\n" + BARE, "without slices there is one model, not 2"),
        (
            "merge_method: passthrough\n" + SLICED + "  - {model: models/code, layer_range: [0, 4]}",
            "passthrough takes one model for each slice, not 2",
        ),
        (
            "merge_method: passthrough\nslices: [{sources: [{model: models/math, layer_range: [2, 5]}]}]",
            "layers [2, 5] are taken of math, which has 4",
        ),
        ("merge_method: passthrough\nslices: [{sources: [{model: a/b}]}]", "there is no range of layers"),
        (
            "merge_method: passthrough\nparameters: {scale: [{filter: layers.1., value: 2}]}\n" + SLICED,
            "2:31: parameters.scale.0.filter: a filter with a number means a layer of the model that it comes from",
        ),
        (
            "merge_method: slerp\nbase_model: models/math\nparameters: {t: 1.5}\n" + BARE,
            "3:14: parameters.t: slerp does not take this: Input should be less than or equal to 1",
        ),
        ("merge_method: linear\n  models: 3", "this `:` cannot stand here"),
    ],
)
def test_mistakes(config: str, message: str, folder: Path) -> None:
    found = complaints(folder, config)
    assert any(message in line for line in found), found
