"""Two models or merges on the same examples: is one better, by how much, and how sure is that?"""

from compat_spec.report.compare.comparing import Compared, compare
from compat_spec.report.compare.pairs import PairedDifference

__all__ = ["Compared", "PairedDifference", "compare"]
