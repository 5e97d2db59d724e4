"""The card of a merged model: what it was made of, in words for people and as a spec that makes it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from compat_spec.components import Component, TensorMerge
from compat_spec.run.provenance import library_versions
from compat_spec.spec.reading import VERSION
from compat_spec.spec.spec import Spec
from compat_spec.spec.writing import as_yaml


def model_card(
    title: str,
    use: str,
    merge: TensorMerge,
    sources: Mapping[str, str],
    spec: str,
    *,
    library: str | None = "transformers",
    relation: str = "merge",
    base_models: Sequence[str] = (),
) -> str:
    """A `README.md` as model hubs read it.

    Args:
        sources: where each model came from, by its name in the spec.
        spec: what makes it again, as YAML.
        library: what opens the folder, if it is known.
        base_models: the ids on the hub of what it was made of, where that is from there.
        relation: what it is to these, as the hub calls it: a `merge` or an `adapter`.
    """
    front: dict[str, Any] = {} if library is None else {"library_name": library}
    if base_models:
        front |= {"base_model": list(base_models), "base_model_relation": relation}
    front["tags"] = ["merge", "compat"]
    about = (type(merge).__doc__ or use).strip().partition("\n")[0]
    listed = "\n".join(f"- `{name}`: {source}" for name, source in sources.items())
    made_with = ", ".join(f"{library} {version}" for library, version in library_versions().items())
    front_matter = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"""---
{front_matter}---

# {title}

A merge of {len(merge.models)} models with `{use}`: {about[:1].lower()}{about[1:]}

{listed}

## Provenance

`compat merge` makes it again from this spec:

```yaml
{spec.rstrip()}
```

Made with {made_with}.
"""


def spec_of_merge(
    spec: Spec, sources: Mapping[str, tuple[str, Component]], merges: Mapping[str, tuple[str, Component]]
) -> str:
    """A spec, as YAML, with some merges of a spec and the sources of their models, every sweep at its one value."""
    plain = {
        "version": VERSION,
        "name": spec.name,
        "seeds": [spec.seeds[0]],
        "models": {str(name): _declared(*source) for name, source in sources.items()},
        "merges": {str(name): _declared(*merge) for name, merge in merges.items()},
    }
    return as_yaml(plain, compact=True)


def _declared(use: str, component: Component) -> dict[str, Any]:
    return {"use": use, **component.model_dump(mode="json", by_alias=True, exclude_defaults=True)}
