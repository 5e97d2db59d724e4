"""Mixtures: parts of one network become several experts' parts, blended by constants or by routers.

`interpolate`, `route` and `route_residuals` build a network; `Blend`, `Mixture`, `AttentionMixture` and
`ResidualMixture` are what they put in the place of its MLPs and attentions.
"""

from compat_spec.nn.mixture.attention import AttentionMixture
from compat_spec.nn.mixture.building import blocks_in_reach, interpolate, route
from compat_spec.nn.mixture.choosing import Choice
from compat_spec.nn.mixture.modules import Blend, Mixture
from compat_spec.nn.mixture.residual import ResidualMixture, route_residuals

__all__ = [
    "AttentionMixture",
    "Blend",
    "Choice",
    "Mixture",
    "ResidualMixture",
    "blocks_in_reach",
    "interpolate",
    "route",
    "route_residuals",
]
