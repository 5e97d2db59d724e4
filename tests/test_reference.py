"""The reference has a page for each component, with its source, its parameters, and an example that is right."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from compat_spec import registry
from compat_spec.components import LayerMetric, Merge, Trainer
from compat_spec.spec import load
from compat_spec.spec.about import About
from docs import reference_pages

ALL = [about for kind in reference_pages.KINDS for about in reference_pages.components(kind)]
PAGES = reference_pages.pages()
IN_SPECS = [about for about in ALL if about.example is not None]
BESIDE = """
tasks:
  math: {use: word_problems}
  code: {use: python_source}
  docs: {use: python_docs}
  target: {use: program_problems}
models:
  base:
    use: causal_lm
    config: {model_type: gpt2, n_layer: 24, n_embd: 32, n_head: 2, n_positions: 128}
    tokenizer: {train_on: [math], vocab_size: 512}
  math: {from: base, train: {on: math, steps: 2}}
  code: {from: base, train: {on: code, steps: 2}}
merges:
  router: {use: routing, models: [math, code], train: {on: target, steps: 2}}
"""
"""What the examples suppose."""


def name_of(about: About) -> str:
    return about.plugin.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files lie that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "beside.yaml").write_text(BESIDE, "utf-8")
    (folder / "data").mkdir()
    for file in ("train-1.jsonl", "test.jsonl"):
        lines = (json.dumps({"question": f"{file} {n}?", "a": str(n)}) + "\n" for n in range(9))
        (folder / "data" / file).write_text("".join(lines), "utf-8")
    (folder / "checkpoints").mkdir()
    save_file({"weight": torch.zeros(2)}, folder / "checkpoints" / "unet.safetensors")
    return folder


def test_every_kind_of_component_is_in_it() -> None:
    assert {f"compat.{kind}" for kind in reference_pages.KINDS} == set(registry.CONTRACTS)


def test_every_component_has_its_page_and_its_place_in_the_navigation() -> None:
    navigation = reference_pages.with_pages({"Site": ["index.md", {"Reference": reference_pages.START}]})
    named = re.findall(r"'(reference/[^']+)'", str(navigation))
    assert set(named) == set(PAGES)
    for namespace in registry.CONTRACTS:
        kind = namespace.removeprefix("compat.")
        for plugin in registry.plugins(namespace):
            if plugin.distribution in reference_pages.DISTRIBUTIONS:
                assert f"reference/{kind}/{plugin.name}.md" in named


@pytest.mark.parametrize("about", ALL, ids=name_of)
def test_every_parameter_has_a_type_and_a_meaning(about: About) -> None:
    for one in about.parameters:
        assert one.type != "any", one
        assert one.meaning.endswith("."), one
    page = PAGES[f"reference/{about.kind}s/{about.plugin.name}.md"]
    assert all(f"\n| `{one.name}` |" in page for one in about.parameters)


@pytest.mark.parametrize("about", ALL, ids=name_of)
def test_every_method_names_its_source(about: About) -> None:
    """Who found it, and when; data and plain quantities have none."""
    if issubclass(about.component, Merge | LayerMetric | Trainer):
        assert re.search(r"\w+( et al\.)?, .*\b(19|20)\d\d\b", "\n".join(about.paragraphs)), about.paragraphs


@pytest.mark.parametrize("about", IN_SPECS, ids=name_of)
def test_every_example_is_right(about: About, folder: Path) -> None:
    path = folder / f"{about.kind}-{about.plugin.name}.yaml"
    path.write_text(f"extends: beside.yaml\n{about.example}", "utf-8")
    assert load(path)


def test_ids_and_addresses_of_a_source_are_links_and_nothing_else_is_markup() -> None:
    text = reference_pages._text("*A*, arXiv:2306.01708; see https://example.org/a_b, `x_y`, arXiv 1711.05101.")
    assert text == (
        r"\*A\*, [arXiv:2306.01708](https://arxiv.org/abs/2306.01708); see <https://example.org/a_b>, `x_y`, "
        "[arXiv 1711.05101](https://arxiv.org/abs/1711.05101)."
    )
