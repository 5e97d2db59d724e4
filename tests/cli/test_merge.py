"""`compat merge`: one merge of a spec as a folder, without its experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from compat_spec.cli.main import main
from compat_spec.nn.network import save_network
from tests.builders import tiny_network
from tests.run.experiments import Workplace

SPEC = """
models:
  base: {use: causal_lm, path: base}
  law: {use: causal_lm, path: law}
  code: {use: causal_lm, path: code}
merges:
  average: {use: linear, models: [law, code], weight: [{gradient: [0, 1]}, 1]}
  arc: {use: slerp, models: [law, code], t: {sweep: [0.25, 0.5]}}
  placed: {use: git_rebasin, models: [law, code]}
  router: {use: routing, models: [law, code], train: {on: target, steps: 1}}
tasks:
  target: {use: word_problems, train: 20, test: 10}
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "law", "code")):
        save_network(tiny_network("llama", seed=seed, dtype=torch.bfloat16), folder / name)
    save_network(tiny_network("llama", seed=3, width=32), folder / "wide")
    (folder / "spec.yaml").write_text(SPEC)
    return folder


Compat = Callable[..., str]


@pytest.fixture
def compat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compat:
    """Runs the command in a folder, and gives what it prints."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(folder: Path, *arguments: str, status: int = 0) -> str:
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["compat", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert (ended.value.code or 0) == status, out + err
        return out + err

    return run


def test_a_merge_becomes_a_folder_that_transformers_opens(compat: Compat, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "average"
    assert f"{out}: " in compat(models, "merge", "spec.yaml", "average", "--out", str(out))
    merged = AutoModelForCausalLM.from_pretrained(out)
    assert merged.dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(out)("x = 1")["input_ids"]
    law, code = (load_file(models / name / "model.safetensors") for name in ("law", "code"))
    shares = {"embed_tokens": 0.0, "layers.0.": 0.0, "layers.1.": 0.5, "layers.2.": 1.0}
    for part, weight in shares.items():
        for name in (name for name in law if part in name):
            exact = (weight * law[name].double() + code[name].double()) / (weight + 1)
            off = (merged.state_dict()[name].double() - exact).abs()
            # half a unit in the last place, and what float32 loses where the two cancel
            assert bool((off <= exact.abs() * 0.501 * torch.finfo(torch.bfloat16).eps + 1e-8).all()), name
    assert {path.name for path in out.iterdir()} >= {"config.json", "tokenizer.json", "model.safetensors", "README.md"}
    assert sorted(path.name for path in out.parent.iterdir()) == ["average"], "nothing is left beside it"


def test_a_merge_that_looks_at_configs_runs_no_model(compat: Compat, models: Path, tmp_path: Path) -> None:
    compat(
        models, "merge", "spec.yaml", "placed", "--out", str(tmp_path / "merged"), "--store", str(tmp_path / "store")
    )
    law, code, merged = (
        load_file(at / "model.safetensors") for at in (models / "law", models / "code", tmp_path / "merged")
    )
    norm = "model.norm.weight"
    assert merged.keys() == law.keys()
    assert merged[norm].equal(law[norm])
    assert law[norm].equal(code[norm])
    assert not merged["lm_head.weight"].equal((law["lm_head.weight"] + code["lm_head.weight"]) / 2)


def test_the_card_says_what_it_was_made_of(compat: Compat, models: Path, tmp_path: Path) -> None:
    compat(models, "merge", "spec.yaml", "average", "--out", str(tmp_path / "m"), "--quiet")
    _, front, body = (tmp_path / "m" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front) == {"library_name": "transformers", "tags": ["merge", "compat"]}
    provenance = yaml.safe_load(body.split("```yaml\n")[1].split("```")[0])
    weights = [{"gradient": [0.0, 1.0]}, 1.0]
    assert provenance["merge"] == {"use": "linear", "models": ["law", "code"], "weight": weights}
    assert provenance["models"] == {name: str(models / name) for name in ("law", "code")}
    assert provenance["seed"] == 0
    assert "torch" in provenance["versions"]


def test_the_bits_do_not_depend_on_the_number_of_threads(compat: Compat, models: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        compat(models, "merge", "spec.yaml", "average", "-o", str(tmp_path / str(threads)), "--quiet")
    torch.set_num_threads(before)
    one, three = ((tmp_path / threads / "model.safetensors").read_bytes() for threads in "13")
    assert one == three


def test_a_dry_run_says_the_bytes_and_writes_nothing(compat: Compat, models: Path) -> None:
    before = sorted(models.rglob("*"))
    said = compat(models, "merge", "spec.yaml", "average", "--dry-run")
    size = sum(tensor.nbytes for tensor in load_file(models / "law" / "model.safetensors").values())
    assert f"reads   {2 * size / 1000:.1f} kB" in said
    assert f"writes  {size / 1000:.1f} kB" in said
    assert sorted(models.rglob("*")) == before


def test_large_results_come_in_shards(compat: Compat, models: Path, tmp_path: Path) -> None:
    overrides = ["--set", "merges.average.dtype=float64", "--shard-size", "0.001"]
    compat(models, "merge", "spec.yaml", "average", *overrides, "-o", str(tmp_path / "m"))
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert (whole.config.dtype, whole.model.embed_tokens.weight.dtype) == (torch.float64, torch.float64)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "spec.yaml has 4 merges: name one of average, arc, placed, router"),
        (["ark"], 2, "spec.yaml: no merge 'ark'; did you mean 'arc'?"),
        (["arc"], 2, "arc is swept, and stands for 2 merges: choose one by setting merges.arc.t, for example --set"),
        (["router"], 2, "router is not a merge of tensors: routing runs its models"),
        (["average", "--out", "law"], 2, "law is there already: name a folder that is empty, or not there"),
        (["average", "--set", "models.code.path=wide"], 2, "linear cannot combine law and code: hidden_size is 16 and"),
        (["average", "--device", "cuda:7"], 2, "cuda:7"),
        (["average", "--out", "spec.yaml/inside"], 1, "spec.yaml/inside cannot be written: Not a directory"),
    ],
)
def test_what_cannot_be_meant_is_told(
    compat: Compat, models: Path, arguments: list[str], status: int, message: str
) -> None:
    before = sorted(models.rglob("*"))
    assert message in compat(models, "merge", "spec.yaml", *arguments, status=status)
    assert sorted(models.rglob("*")) == before


def test_a_link_to_an_empty_folder_is_written_through(compat: Compat, models: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    compat(models, "merge", "spec.yaml", "average", "--out", str(tmp_path / "link"))
    assert (tmp_path / "disk" / "model.safetensors").exists()
    assert (tmp_path / "link").is_symlink()


def test_a_merge_of_merges_makes_these_first(compat: Compat, models: Path, tmp_path: Path) -> None:
    more = "  twice: {use: linear, models: [average, base], weight: [1, 3]}\ntasks:"
    (models / "twice.yaml").write_text(SPEC.replace("tasks:", more))
    asked = ["merge", "twice.yaml", "twice", "--store", str(tmp_path / "store"), "--set", "merges.average.weight=1"]
    said = compat(models, *asked, "--dry-run").splitlines()
    assert [line.split()[0] for line in said] == ["reads", "writes", "tensors", "for", "what"]
    assert said[-2:] == [
        "for average, which is made first, and removed at the end",
        "what twice reads is known when average is there",
    ]
    compat(models, *asked, "--out", str(tmp_path / "m"))
    assert [path.name for path in tmp_path.iterdir()] == ["m"], "the average is gone"
    assert "- `average`: a merge of the same spec: linear of law, code\n" in (tmp_path / "m" / "README.md").read_text()
    merged, base, law, code = (
        load_file(at / "model.safetensors") for at in (tmp_path / "m", models / "base", models / "law", models / "code")
    )
    for name, tensor in merged.items():
        average = ((law[name].float() + code[name].float()) / 2).bfloat16().double()
        expected = (average + 3 * base[name].double()) / 4
        assert bool(((tensor.double() - expected).abs() <= expected.abs() * 2**-8 + 1e-8).all()), name


def test_models_that_the_spec_trains_are_trained_first_and_kept(compat: Compat, tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.spec  # noqa: B018  (written on first use)
    assert "steps come first" in compat(place.folder, "merge", "tiny.yaml", "average", "--dry-run")
    said = compat(place.folder, "merge", "tiny.yaml", "average", "--out", "merged")
    assert "train two" in said
    assert "average" not in said.replace("merged", "")[: said.index("merged: ")], "the merge is not one of the steps"
    assert not (place.folder / "results.db").exists()
    again = compat(place.folder, "merge", "tiny.yaml", "average", "--out", "again")
    assert "train" not in again
    assert place.run().exit_status == 0
    stored = load_file(place.store.path(place.fingerprint("merge average")) / "model.safetensors")
    for folder in ("merged", "again"):
        written = load_file(place.folder / folder / "model.safetensors")
        assert written.keys() == stored.keys()
        assert all(tensor.equal(stored[name]) for name, tensor in written.items())
    assert "made by the spec, " in (place.folder / "merged" / "README.md").read_text()


BARE = """
models:
  a: {use: tensors, path: a.safetensors}
  b: {use: tensors, path: b.safetensors}
merges:
  average: {use: linear, models: [a, b]}
"""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    for seed, name in enumerate("ab"):
        numbers = torch.Generator().manual_seed(seed)
        tensors = {"conv.0.weight": torch.randn(2, 3, 3, 3, generator=numbers), "steps": torch.tensor(5)}
        save_file(tensors, tmp_path / f"{name}.safetensors")
    (tmp_path / "bare.yaml").write_text(BARE)
    return tmp_path


def test_any_tensors_can_be_merged(compat: Compat, bare: Path) -> None:
    compat(bare, "merge", "bare.yaml", "average")
    a, b, merged = (load_file(bare / name) for name in ("a.safetensors", "b.safetensors", "average/model.safetensors"))
    torch.testing.assert_close(merged["conv.0.weight"], (a["conv.0.weight"] + b["conv.0.weight"]) / 2)
    assert merged["steps"] == 5


def test_tensors_alone_can_only_be_merged(compat: Compat, bare: Path) -> None:
    more = """
  route: {use: logit_average, models: [a, b]}
tasks: {math: {use: word_problems}}
metrics:
  loss: {use: cross_entropy, on: math, of: [b, average]}
  same: {use: cka, on: math, between: [a, b]}
"""
    (bare / "more.yaml").write_text(BARE.rstrip() + more)
    advice = "they can be merged, by compat merge, and nothing else"
    said = compat(bare, "validate", "more.yaml", status=2)
    assert said.splitlines() == [
        f"more.yaml:7:3: merges.route: a is tensors alone, which cannot be run; {advice}",
        f"more.yaml:10:3: metrics.loss: b is tensors alone, which cannot be measured; {advice}",
        f"more.yaml:11:3: metrics.same: a is tensors alone, which cannot be measured; {advice}",
    ]
    trained = more.replace("metrics:", "metrics: {}").partition("  loss")[0]
    models = "models:\n  c: {from: a, train: {on: math, steps: 2}}"
    (bare / "trained.yaml").write_text(BARE.rstrip().replace("models:", models, 1) + trained)
    said = compat(bare, "validate", "trained.yaml", status=2)
    assert f"trained.yaml:3:3: models.c: a is tensors alone, which cannot be trained; {advice}" in said.splitlines()


def test_models_that_do_not_go_together_leave_nothing_behind(compat: Compat, bare: Path) -> None:
    save_file({"conv.0.weight": torch.ones(2, 3, 3, 3)}, bare / "b.safetensors")
    said = compat(bare, "merge", "bare.yaml", "average", status=1)
    assert said == "compat: a and b do not have the same tensors: a has steps and b has not\n"
    assert sorted(path.name for path in bare.iterdir()) == ["a.safetensors", "b.safetensors", "bare.yaml"]
