"""What all components share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Component(BaseModel):
    """What all components share: parameters that are validated, frozen, and forbidden when unknown."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, protected_namespaces=(), serialize_by_alias=True
    )

    namespace: ClassVar[str]
    version: ClassVar[str] = "1"

    @classmethod
    def parameters(cls) -> Mapping[str, FieldInfo]:
        """The fields by what they are called in a spec: their alias where they have one, such as `lambda`."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    def identity(self) -> Mapping[str, Any]:
        """JSON-able facts besides the parameters that decide the result: a file's checksum, Python's version."""
        return {}

    def uses_seed(self) -> bool:
        """Whether the run's seed changes the result. Steps that say no are computed once for all seeds."""
        return False


class FitsModels(Component):
    """What is used on models: it may know before they are there that its parameters do not go with their shapes."""

    def misfit(self, architecture: Mapping[str, Any]) -> str | None:
        """What is wrong for models of this `ModelSource.architecture()`, in words; None when nothing is.

        Only what is known without loading anything is in `architecture`: any key may be missing.
        """
        return None
