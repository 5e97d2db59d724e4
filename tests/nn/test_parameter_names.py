"""Which parameter a tensor of a checkpoint is."""

from __future__ import annotations

import pytest

from compat_spec.errors import CompatError
from compat_spec.nn.parameter_names import parameters_by_tensor
from tests.builders import tiny_network


def test_tied_parameters_are_found_by_each_of_their_names():
    module = tiny_network("gpt2", blocks=1, width=8).module
    names = [name for name, _ in module.named_parameters()]
    assert parameters_by_tensor(module, names)["transformer.wte.weight"] is module.lm_head.weight
    other = ["lm_head.weight" if name == "transformer.wte.weight" else name for name in names]
    assert parameters_by_tensor(module, other)["lm_head.weight"] is module.transformer.wte.weight


def test_checkpoints_of_a_bare_trunk_lack_its_name():
    module = tiny_network("qwen3", blocks=1, width=8, tie_word_embeddings=True).module
    found = parameters_by_tensor(module, [name.removeprefix("model.") for name, _ in module.named_parameters()])
    assert found["layers.0.mlp.up_proj.weight"] is module.model.layers[0].mlp.up_proj.weight
    assert len(found) == len(list(module.named_parameters()))


def test_tensors_that_are_no_parameters_are_left_out():
    module = tiny_network("gpt2", blocks=1, width=8).module
    names = [name for name, _ in module.named_parameters()]
    assert parameters_by_tensor(module, [*names, "transformer.h.0.attn.bias"]).keys() == set(names)


def test_a_checkpoint_with_other_names_is_refused():
    module = tiny_network("gpt2", blocks=1, width=8).module
    names = [name for name, _ in module.named_parameters() if "c_fc" not in name]
    with pytest.raises(CompatError, match=r"transformer\.h\.0\.mlp\.c_fc\.weight of GPT2LMHeadModel is not among"):
        parameters_by_tensor(module, names)
