"""The card of a merged model: what it was made of, in words for people and in YAML for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from compat_spec.components import TensorMerge
from compat_spec.run.provenance import library_versions
from compat_spec.spec.spec import Spec


def model_card(
    title: str, use: str, merge: TensorMerge, sources: Mapping[str, str], spec: Spec, library: str = "transformers"
) -> str:
    """A `README.md` as model hubs read it.

    Args:
        sources: where each model came from, by its name in the spec.
        library: what opens the folder.
    """
    provenance = {
        "merge": {"use": use, **merge.model_dump(mode="json", exclude_defaults=True)},
        "models": {str(name): source for name, source in sources.items()},
        "experiment": spec.name,
        "seed": spec.seeds[0],
        "versions": library_versions(),
    }
    front = {"library_name": library, "tags": ["merge", "compat"]}
    about = (type(merge).__doc__ or use).strip().partition("\n")[0]
    listed = "\n".join(f"- `{name}`: {source}" for name, source in sources.items())
    return f"""---
{_yaml(front)}---

# {title}

A merge of {len(merge.models)} models with `{use}`: {about[:1].lower()}{about[1:]}

{listed}

## Provenance

```yaml
{_yaml(provenance)}```
"""


def _yaml(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
