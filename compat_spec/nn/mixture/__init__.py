"""Mixtures: parts of one network become several experts' parts, blended by constants or by routers.

`interpolate` and `route` build a network; `Blend` and `Mixture` are what they put in the place of an MLP.
"""

from compat_spec.nn.mixture.building import blocks_in_reach, interpolate, route
from compat_spec.nn.mixture.modules import Blend, Mixture

__all__ = ["Blend", "Mixture", "blocks_in_reach", "interpolate", "route"]
