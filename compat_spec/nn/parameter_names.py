"""Which parameter of a network a tensor of its checkpoint is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from compat_spec.errors import CompatError


def parameters_by_tensor(module: nn.Module, tensors: Iterable[str]) -> Mapping[str, nn.Parameter]:
    """The parameter that each tensor of a checkpoint is read into, by the tensor's name.

    Parameters that are tied have one name in most checkpoints and several in the network, and checkpoints of a bare
    trunk lack the prefix that it has in the whole model. What is no parameter, such as a mask, is left out.

    Raises:
        CompatError: the checkpoint has none of some parameter's names.
    """
    named = dict(module.named_parameters(remove_duplicate=False))
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    found = {}
    for tensor in tensors:
        name = tensor if tensor in named else prefix + tensor
        if name in named:
            found[tensor] = named[name]
    there = {id(parameter) for parameter in found.values()}
    for name, parameter in named.items():
        if id(parameter) not in there:
            raise CompatError(
                f"{name} of {type(module).__name__} is not among the tensors of its checkpoint, which call their "
                "parameters by other names: what is learnt of the network cannot be told of them"
            )
    return found
