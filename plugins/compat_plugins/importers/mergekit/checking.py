"""Asks our own merges whether they take what was converted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from compat_plugins.importers.mergekit.merge import Declared
from compat_spec import registry

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Problems


def check(declared: Declared, document: Node, problems: Problems) -> None:
    """Report what our component does not take, where it stands in the file."""
    node = document.mapping["merge_method"]
    try:
        registry.component("compat.merges", declared.use).model_validate(declared.params)
    except registry.PluginError as error:
        problems.add(node.place, "merge_method", str(error))
    except ValidationError as error:
        # of the forms that a value may have, the first that it is taken for is the one that is meant
        first = {str(one["loc"][0]) if one["loc"] else "": one for one in reversed(error.errors(include_url=False))}
        for key, one in reversed(first.items()):
            place, where = declared.origins.get(key, (node.place, "merge_method"))
            problems.add(place, where, f"{declared.use} does not take this: {_in_words(one, declared.params)}")


def _in_words(error: ErrorDetails, params: Mapping[str, Any]) -> str:
    context = error.get("ctx", {})
    if error["loc"] == ("models",) and "actual_length" in context:
        few = "min_length" in context
        count = context["min_length" if few else "max_length"]
        beside = " beside the base" if "base" in params else ""
        many = f"{count} model{'s' if count != 1 else ''}"
        return f"it needs at {'least' if few else 'most'} {many}{beside}, and there are {context['actual_length']}"
    return str(context.get("error", error["msg"]))
