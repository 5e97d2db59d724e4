"""`compat merge`: one merge of a spec as a folder, without its experiment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from compat_plugins.merges.linear import Linear
from compat_spec.cli.main import main
from compat_spec.nn.network import save_network
from compat_spec.run.appearing import appearing
from compat_spec.run.model_card import model_card
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


def card_of(folder: Path) -> tuple[Any, str]:
    """The front matter of a model's card, and the spec in it."""
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), body.split("```yaml\n")[1].split("```")[0]


def test_the_card_has_a_spec_that_makes_the_same_bytes(compat: Compat, models: Path, tmp_path: Path) -> None:
    compat(models, "merge", "spec.yaml", "arc", "--set", "merges.arc.t=0.25", "-o", str(tmp_path / "m"), "--quiet")
    front, text = card_of(tmp_path / "m")
    assert front == {"library_name": "transformers", "tags": ["merge", "compat"]}
    assert "torch" in (tmp_path / "m" / "README.md").read_text()
    (tmp_path / "again.yaml").write_text(text)
    compat(tmp_path, "merge", "again.yaml")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "arc" / name).read_bytes() == (tmp_path / "m" / name).read_bytes()
    assert card_of(tmp_path / "arc")[1] == text
    spec = yaml.safe_load(text)
    assert spec["models"] == {name: {"use": "causal_lm", "path": str(models / name)} for name in ("law", "code")}
    assert spec["merges"] == {"arc": {"use": "slerp", "models": ["law", "code"], "t": 0.25}}


def test_what_a_killed_merge_left_vanishes_with_the_next(compat: Compat, bare: Path) -> None:
    left = bare / ".average-0123abcd"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    (bare / ".average-0123abcd.lock").touch()
    compat(bare, "merge", "bare.yaml", "average")
    assert sorted(path.name for path in bare.iterdir()) == ["a.safetensors", "average", "b.safetensors", "bare.yaml"]
    front, _ = card_of(bare / "average")
    assert front == {"tags": ["merge", "compat"]}, "nobody knows what opens it"


def test_what_another_merge_is_writing_stays(bare: Path) -> None:
    with appearing(bare / "out") as first:
        with appearing(bare / "out") as second:
            assert first.is_dir()
            assert second != first
        assert first.is_dir()
        (bare / "out").rmdir()
    assert (bare / "out").is_dir()


def test_quantised_models_are_refused(compat: Compat, models: Path, tmp_path: Path) -> None:
    for name in ("law", "code"):
        shutil.copytree(models / name, tmp_path / name)
    config = json.loads((tmp_path / "code" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (tmp_path / "code" / "config.json").write_text(json.dumps(config))
    (tmp_path / "spec.yaml").write_text(BARE.replace("a.safetensors", "law").replace("b.safetensors", "code"))
    said = compat(tmp_path, "merge", "spec.yaml", "average", "--dry-run", status=1)
    assert "b is quantised (fp8), and its numbers cannot be merged: name the model that it was made from" in said


def test_an_encoder_and_a_decoder_are_not_stacked(compat: Compat, bare: Path) -> None:
    for name in "ab":
        (bare / name).mkdir()
        halves = {f"{half}.block.{i}.w": torch.ones(2) for half in ("encoder", "decoder") for i in range(2)}
        save_file(halves, bare / name / "model.safetensors")
        (bare / name / "config.json").write_text(
            '{"num_layers": 2, "num_decoder_layers": 2, "is_encoder_decoder": true}'
        )
    stack = "passthrough, models: [a, b], slices: [{model: a, layers: [0, 2]}, {model: b, layers: [1, 2]}]}"
    (bare / "spec.yaml").write_text(BARE.replace(".safetensors", "").replace("linear, models: [a, b]}", stack))
    said = compat(bare, "merge", "spec.yaml", "average", "--dry-run", status=1)
    assert "blocks of a cannot be stacked: its config has to count 2 blocks, and no encoder and decoder" in said


def test_models_of_the_hub_are_named_to_the_hub() -> None:
    merge = Linear(models=("a", "b"))
    card = model_card("m", "linear", merge, {}, "", base_models=["org/a", "org/b"])
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == ["org/a", "org/b"]
    assert front["base_model_relation"] == "merge"


def test_files_that_belong_to_one_model_stay_with_it(compat: Compat, models: Path, tmp_path: Path) -> None:
    for name in ("law", "code"):
        shutil.copytree(models / name, tmp_path / name)
    law = tmp_path / "law"
    for own in ("trainer_state.json", "all_results.json", "pytorch_model.bin.index.json", "training_args.bin"):
        (law / own).write_text("{}")
    (law / "qwen.tiktoken").write_text("x")
    (law / "additional_chat_templates").mkdir()
    (law / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    config = json.loads((law / "config.json").read_text())
    (law / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))
    (tmp_path / "spec.yaml").write_text(BARE.replace("a.safetensors", "law").replace("b.safetensors", "code"))
    compat(tmp_path, "merge", "spec.yaml")
    found = {str(path.relative_to(tmp_path / "average")) for path in (tmp_path / "average").rglob("*")}
    assert found - {path.name for path in (models / "law").iterdir()} == {
        "README.md",
        "additional_chat_templates",
        "additional_chat_templates/tools.jinja",
        "qwen.tiktoken",
    }
    assert json.loads((tmp_path / "average" / "config.json").read_text())["dtype"] == "bfloat16", "what is in the file"


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


# runs compat, and says which of the packages that take long to import it has imported
COUNTED = """
import sys
from compat_spec.cli.main import main
sys.argv = ["compat", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "transformers", "tokenizers", "scipy", "sqlalchemy", "alembic", "peft", "altair"}
print(sorted({name.partition(".")[0] for name in sys.modules} & heavy))
"""


def retold(models: Path, folder: Path, change: Callable[[dict[str, Any], str], object]) -> None:
    """The models `law` and `code`, their tokenizer files changed."""
    for name in ("law", "code"):
        shutil.copytree(models / name, folder / name)
        file = folder / name / "tokenizer.json"
        content = json.loads(file.read_text("utf-8"))
        change(content, name)
        file.write_text(json.dumps(content), "utf-8")
    (folder / "spec.yaml").write_text("""
models:
  law: {use: causal_lm, path: law}
  code: {use: causal_lm, path: code}
merges:
  average: {use: linear, models: [law, code]}
""")


def test_a_merge_of_folders_imports_torch_alone(models: Path, tmp_path: Path) -> None:
    def truncate(tokenizer: dict[str, Any], name: str) -> None:
        end = {"max_length": {"law": 8, "code": 9}[name], "stride": 0}
        tokenizer["truncation"] = {"direction": "Right", "strategy": "LongestFirst", **end}

    retold(models, tmp_path, truncate)
    command = [sys.executable, "-c", COUNTED, "merge", "spec.yaml", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("['torch']\n", "")
    assert len(AutoTokenizer.from_pretrained(tmp_path / "average")("x = 1")["input_ids"]) > 0


def test_models_that_read_texts_as_different_tokens_are_refused(compat: Compat, models: Path, tmp_path: Path) -> None:
    def add(tokenizer: dict[str, Any], name: str) -> None:
        last = tokenizer["added_tokens"][-1]
        number = 1 + max(last["id"], *tokenizer["model"]["vocab"].values())
        tokenizer["added_tokens"].append(last | {"id": number, "content": f"<{name}>"})

    retold(models, tmp_path, add)
    said = compat(tmp_path, "merge", "spec.yaml", status=1)
    assert "law and code have different tokenizers: token " in said
    assert "'<law>' in the one and '<code>' in the other" in said
    assert not (tmp_path / "average").exists()


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
