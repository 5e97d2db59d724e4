"""Content-addressed artifacts: what a step computed, kept under the step's fingerprint."""

from compat_spec.store.shared import SharedStore, open_store
from compat_spec.store.store import Artifact, ArtifactRef, CorruptArtifactError, Manifest, Store

__all__ = ["Artifact", "ArtifactRef", "CorruptArtifactError", "Manifest", "SharedStore", "Store", "open_store"]
