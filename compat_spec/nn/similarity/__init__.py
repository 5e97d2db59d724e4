"""How similar the representations of two networks are, layer by layer.

from compat_spec.nn.similarity import similarity

similarity("cka", xs, ys)  # features of each layer, [n, width] -> [len(xs), len(ys)]
"""

from compat_spec.nn.similarity.compute import MEASURES, similarity
from compat_spec.nn.similarity.undefined import UndefinedSimilarityWarning

__all__ = ["MEASURES", "UndefinedSimilarityWarning", "similarity"]
