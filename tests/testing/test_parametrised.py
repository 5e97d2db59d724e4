from compat_plugins.merges.linear import Linear
from compat_spec.testing import contract

test_contract = contract(Linear)
