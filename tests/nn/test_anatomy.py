"""The parts of each architecture are found, and its MLPs can be replaced in a copy that costs no memory."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from compat_spec.nn.anatomy import LAYOUTS, Layout, UnknownArchitecture, anatomy_of, frozen_copy
from compat_spec.nn.network import Network
from tests.builders import tiny_network

IDS = torch.arange(42).view(2, 21)

every_architecture = pytest.mark.parametrize("model_type", sorted(LAYOUTS))


def logits(module: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = module(input_ids=IDS, use_cache=False).logits
    return found


class Silent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@every_architecture
def test_mlps_replaced_by_themselves_change_nothing(model_type):
    network = tiny_network(model_type)
    anatomy = network.anatomy
    assert (len(anatomy), anatomy.width) == (3, 16)
    replaced = anatomy.with_mlps([anatomy.mlp(block) for block in range(3)])
    assert logits(replaced).equal(logits(network.module))
    again = anatomy_of(replaced)
    assert logits(again.with_mlps([again.mlp(block) for block in range(3)])).equal(logits(network.module))


@every_architecture
def test_an_mlp_is_all_that_its_last_matrix_writes(model_type):
    network = tiny_network(model_type)
    last = "c_proj|dense_4h_to_h|down_proj|fc2"
    muted = copy.deepcopy(network.module)
    for block in range(3):
        for name, parameter in anatomy_of(muted).mlp(block).named_parameters():
            if model_type == "opt" or re.search(last, name):
                nn.init.zeros_(parameter)
    assert not logits(muted).equal(logits(network.module))
    assert logits(network.anatomy.with_mlps([Silent()] * 3)).equal(logits(muted))


@every_architecture
def test_changing_one_mlp_changes_the_copy_only(model_type):
    network = tiny_network(model_type)
    before = logits(network.module)
    anatomy = network.anatomy
    mlps = [copy.deepcopy(anatomy.mlp(block)) for block in range(3)]
    with torch.no_grad():
        for parameter in mlps[1].parameters():
            parameter.add_(0.5)
    assert not torch.allclose(logits(anatomy.with_mlps(mlps)), before, atol=1e-3)
    assert logits(network.module).equal(before)


@every_architecture
def test_a_copy_shares_every_tensor_and_leaves_the_original_alone(model_type):
    network = tiny_network(model_type)
    twin = frozen_copy(network.module)
    originals = {name: parameter.data_ptr() for name, parameter in network.module.named_parameters()}
    assert {name: parameter.data_ptr() for name, parameter in twin.named_parameters()} == originals
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    twin.train()
    twin.register_forward_hook(lambda *_: 1 / 0)
    assert all(parameter.requires_grad for parameter in network.module.parameters())
    assert not any(part.training for part in network.module.modules())
    network.logits(IDS)


@every_architecture
def test_mlps_and_attentions_hold_the_parameters_that_are_named_after_them(model_type):
    network = tiny_network(model_type)
    names = {id(parameter): name for name, parameter in network.module.named_parameters()}
    anatomy = network.anatomy
    for block in range(3):
        for part, word in (
            (anatomy.mlp(block), r"\.(mlp|fc1|fc2)\."),
            (anatomy.attention(block), r"attn\.|attention\."),
        ):
            inside = {names[id(parameter)] for parameter in part.parameters()}
            assert inside == {
                name for name in names.values() if re.search(rf"\.{block}\.", name) and re.search(word, name)
            }
            assert inside


@every_architecture
def test_the_head_reads_the_normalised_output_of_the_last_block(model_type):
    network = tiny_network(model_type, **({"final_logit_softcapping": None} if model_type == "gemma2" else {}))
    outputs: list[Tensor] = []
    network.anatomy.blocks[-1].register_forward_hook(
        lambda _, __, output: outputs.append(output[0] if isinstance(output, tuple) else output)
    )
    expected = logits(network.module)
    norm = network.anatomy.final_norm
    assert norm is not None
    with torch.no_grad():
        torch.testing.assert_close(network.anatomy.head(norm(outputs[0])), expected)


@pytest.mark.parametrize("model_type", ["gpt2", "opt"])
def test_hooks_on_an_mlp_see_its_output_once_in_the_model_and_in_a_copy_of_it(model_type):
    network = tiny_network(model_type)
    replaced = Network(network.anatomy.with_mlps([Silent() for _ in range(3)]), network.tokenizer)
    for which, silent in ((network, False), (replaced, True)):
        seen: list[Tensor] = []
        handle = which.anatomy.mlp(1).register_forward_hook(lambda _, __, output, seen=seen: seen.append(output))
        which.logits(IDS)
        handle.remove()
        which.logits(IDS)
        assert len(seen) == 1
        assert bool((seen[0] == 0).all()) is silent
        assert seen[0].numel() == IDS.numel() * 16


def test_tied_embeddings_stay_tied():
    twin = frozen_copy(tiny_network("gpt2").module)
    assert twin.lm_head.weight is twin.transformer.wte.weight


def test_a_model_without_a_final_norm_has_none():
    network = tiny_network("opt", do_layer_norm_before=False)
    anatomy = network.anatomy
    assert anatomy.final_norm is None
    assert logits(anatomy.with_mlps([anatomy.mlp(i) for i in range(3)])).equal(logits(network.module))


def test_a_wrong_number_of_mlps_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        tiny_network().anatomy.with_mlps([Silent()])


def test_an_unknown_architecture_says_what_is_known_and_how_to_register_it():
    module = nn.Linear(2, 2)
    with pytest.raises(UnknownArchitecture, match="of Linear are is not known"):
        anatomy_of(module)
    module.config = SimpleNamespace(model_type="bloom")
    with pytest.raises(UnknownArchitecture) as raised:
        anatomy_of(module)
    message = str(raised.value)
    assert "Linear (bloom)" in message
    assert "gemma, gemma2, gemma3_text, gpt2, gpt_neox, llama, mistral, opt, qwen2, qwen3" in message
    assert "entry point of the group 'compat.anatomies', whose name is the model type" in message


def register(folder: Path, code: str, target: str) -> None:
    """Install a package that has a layout for `phi`, as pip would."""
    (folder / "strange_layouts.py").write_text(code)
    info = folder / "strange_layouts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-layouts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[compat.anatomies]\nphi = {target}\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("strange_layouts", None)


LAYOUT = "from compat_spec.nn.anatomy import Layout\nPHI = Layout(final_norm='model.final_layernorm', {})\n"


def test_a_package_registers_its_layout(site):
    network = tiny_network("phi")
    with pytest.raises(UnknownArchitecture):
        anatomy_of(network.module)
    register(site, LAYOUT.format(""), "strange_layouts:PHI")
    anatomy = anatomy_of(network.module)
    assert anatomy.layout == Layout(final_norm="model.final_layernorm")
    assert isinstance(anatomy.final_norm, nn.LayerNorm)
    assert logits(anatomy.with_mlps([anatomy.mlp(i) for i in range(3)])).equal(logits(network.module))
    assert not logits(anatomy.with_mlps([Silent()] * 3)).equal(logits(network.module))


@pytest.mark.parametrize(
    ("code", "target", "message"),
    [
        (
            "import nothing_of_that_name",
            "strange_layouts:PHI",
            r"strange_layouts:PHI of 'phi' does not load: ModuleNot",
        ),
        (
            "PHI = {'blocks': 'h'}",
            "strange_layouts:PHI",
            r"strange_layouts:PHI of 'phi' is not a compat_spec.nn.anatomy",
        ),
        (
            LAYOUT.format("blocks='model.h'"),
            "strange_layouts:PHI",
            r"\(phi\) says 'model.h', and its PhiForCausalLM has",
        ),
        (
            LAYOUT.format("mlp='feed'"),
            "strange_layouts:PHI",
            r"\(phi\) says 'feed', and its PhiDecoderLayer has no such",
        ),
    ],
)
def test_a_broken_layout_is_an_error_that_names_it(site, code, target, message):
    register(site, code, target)
    with pytest.raises(UnknownArchitecture, match=message):
        anatomy_of(tiny_network("phi").module)
