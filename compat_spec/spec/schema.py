"""The JSON Schema of specs, the parameters of all installed plugins included: what editors complete and check with.

Draft 7, which yaml-language-server knows best. It is a little more generous than `load`, which has the last word.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, TypeAlias

from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

from compat_spec import registry
from compat_spec.components import Component, LayerMetric, Merge, Metric, ModelSource, ModuleMerge, TensorMerge, Trainer
from compat_spec.spec.keys import DEFAULT_TRAINER, NAME, SECTIONS
from compat_spec.spec.parts import CONTRACTS
from compat_spec.spec.reading import MAX_SEED, VERSION
from compat_spec.spec.reading import NAME as EXPERIMENT_NAME
from compat_spec.spec.sweeps import MAX_POINTS

Schema: TypeAlias = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"

NUMBER: Schema = {"type": "number"}
SWEEP: Schema = {
    "type": "object",
    "description": "Several values: one point of the experiment, and of the results, for each.",
    "properties": {
        "sweep": {
            "anyOf": [
                {"type": "array", "minItems": 1, "description": "The values."},
                {
                    "type": "object",
                    "description": "Values from one number to another, both included.",
                    "properties": {
                        "from": NUMBER,
                        "to": NUMBER,
                        "num": {"type": "integer", "minimum": 1, "maximum": MAX_POINTS},
                        "scale": {"enum": ["linear", "log"], "default": "linear"},
                    },
                    "required": ["from", "to", "num"],
                    "additionalProperties": False,
                },
            ]
        },
        "zip": {"type": "string", "description": "Sweeps with the same word here vary together."},
    },
    "required": ["sweep"],
    "additionalProperties": False,
}
MODEL: Schema = {"type": "string", "description": "A model, or its checkpoint: math, math@100."}
STEP: Schema = {"type": "integer", "minimum": 0}
AT: Schema = {**STEP, "description": "Take the checkpoints of this step of every model that keeps checkpoints."}
NAMES: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
ON: Schema = {**NAMES, "description": "The task to measure on, or a list of tasks."}
OF: Schema = {
    **NAMES,
    "description": "The models and merges to measure; `all`, the default, is every model and every merge.",
}
BETWEEN: Schema = {
    "type": "array",
    "items": MODEL,
    "minItems": 2,
    "maxItems": 2,
    "description": "The two models to compare.",
}
TRAIN: Schema = {"$ref": "#/definitions/train"}
STEPS: Schema = {"anyOf": [STEP, {"type": "array", "items": STEP, "minItems": 1}], "description": AT["description"]}


HEADER: dict[str, Schema] = {
    "version": {"const": VERSION, "description": "The version of the spec language."},
    "name": {
        "type": "string",
        "pattern": f"^{EXPERIMENT_NAME.pattern}$",
        "description": "What the experiment is called in the results; by default like the file.",
    },
    "description": {"type": ["string", "null"], "description": "What the experiment is for."},
    "seeds": {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": MAX_SEED},
        "minItems": 1,
        "uniqueItems": True,
        "default": [0],
        "description": "The experiment is run once with each seed.",
    },
    "extends": {"type": "string", "minLength": 1, "description": "Another spec, beside this file, that it changes."},
}
SECTION_HELP = {
    "tasks": "The data: named splits of examples.",
    "models": "The models: sources (`use`), and what is trained further from another (`from`).",
    "merges": "The ways to combine models.",
    "metrics": "What is measured, and on which tasks.",
}


def json_schema() -> Schema:
    """The schema of a whole spec. Plugins that do not load are left out."""
    definitions: dict[str, Schema] = {"sweep": SWEEP}
    partial: dict[str, Schema] = {}
    complete: dict[str, Schema] = {}
    for section, contract in CONTRACTS.items():
        partial[section], complete[section] = _declaration(contract.namespace, definitions)
    _let_models_descend(partial["models"], complete["models"])
    definitions["train"], definitions["complete train"] = _training(definitions)
    for section in ("models", "merges"):
        complete[section]["properties"] = {"train": {"$ref": "#/definitions/complete train"}}
    return {
        "$schema": DRAFT,
        "title": "An experiment of compat",
        "type": "object",
        "properties": HEADER | {section: _section(section, partial[section]) for section in SECTIONS},
        "additionalProperties": False,
        # what another spec declares already may be given in part
        "if": {"not": {"required": ["extends"]}},
        "then": {"properties": {section: {"additionalProperties": complete[section]} for section in SECTIONS}},
        "definitions": definitions,
    }


def _section(section: str, declaration: Schema) -> Schema:
    return {
        "type": ["object", "null"],
        "description": SECTION_HELP[section],
        "propertyNames": {"pattern": f"^{NAME.pattern}$"},
        "additionalProperties": declaration,
    }


# --------------------------------------------------------------------------------------------------- declarations


def _declaration(namespace: str, definitions: dict[str, Schema]) -> tuple[Schema, Schema]:
    """What a declaration of a namespace may hold, and what it must hold when it is complete."""
    uses, parameters, required = list[Schema](), list[Schema](), list[Schema]()
    for plugin, cls in _components(namespace):
        uses.append({"const": plugin.use, "description": _first_line(cls)})
        qualified = f"{plugin.distribution}:{plugin.name}"
        chosen = {"properties": {"use": {"enum": list(dict.fromkeys([plugin.use, qualified]))}}, "required": ["use"]}
        reference, needed = _define(namespace, plugin.use, cls, definitions)
        parameters.append({"if": chosen, "then": reference})
        required.append({"if": chosen, "then": {"required": needed}})
    uses.append({"type": "string", "pattern": "^[A-Za-z0-9._-]+:.", "description": "distribution:name"})
    use: Schema = {"description": "The plugin.", "anyOf": uses}
    partial: Schema = {"type": ["object", "null"], "properties": {"use": use}, "allOf": parameters}
    complete: Schema = {"type": "object", "required": ["use"], "allOf": required}
    return _without_empty(partial), _without_empty(complete)


def _let_models_descend(partial: Schema, complete: Schema) -> None:
    """A model has `from` and `train` instead of a plugin and its parameters."""
    origin = _or_sweep(
        {**MODEL, "description": "The model that this one is trained from, or its checkpoint: base@100."}
    )
    partial["properties"] |= {"from": origin, "train": TRAIN}
    descends: Schema = {"required": ["from"]}
    only = {"properties": {"from": {}, "train": {}}, "additionalProperties": False}
    partial.setdefault("allOf", []).append({"if": {"type": "object", **descends}, "then": only})
    sources = {key: complete.pop(key) for key in ("required", "allOf") if key in complete}
    complete |= {"if": descends, "then": {"required": ["train"]}, "else": sources}


def _training(definitions: dict[str, Schema]) -> tuple[Schema, Schema]:
    """A `train:` block, in part and complete. Without `use` it is the default trainer's."""
    partial, complete = _declaration(Trainer.namespace, definitions)
    for branch in partial.get("allOf", ()):  # the conditions are those of `complete` too
        if DEFAULT_TRAINER in branch["if"]["properties"]["use"]["enum"]:
            del branch["if"]["required"]
    partial["properties"]["use"]["default"] = DEFAULT_TRAINER
    del complete["required"]
    return {"description": "How it is trained.", **partial}, complete


def _engine_keys(cls: type[Component]) -> dict[str, Schema]:
    """The keys beside a plugin's parameters."""
    if issubclass(cls, ModelSource):
        return {"train": {}}  # `_let_models_descend` says what it is
    if issubclass(cls, LayerMetric):
        return {"on": _or_sweep(ON), "between": _or_sweep(BETWEEN), "at": _or_sweep(AT)}
    if issubclass(cls, Metric):
        return {"on": _or_sweep(ON), "of": _or_sweep(OF), "at": _or_sweep(STEPS)}
    if issubclass(cls, Merge):
        return {"at": _or_sweep(AT)} | ({} if issubclass(cls, TensorMerge) else {"train": TRAIN})
    return {}


def _needed_keys(cls: type[Component]) -> list[str]:
    if issubclass(cls, LayerMetric):
        return ["on", "between"]
    if issubclass(cls, Metric):
        return ["on"]
    return ["train"] if issubclass(cls, ModuleMerge) and cls.training == "needed" else []


# ---------------------------------------------------------------------------------------------- plugins' parameters


def _components(namespace: str) -> Iterator[tuple[registry.Plugin, type[Component]]]:
    for plugin in registry.plugins(namespace):
        if plugin.component is not None:
            yield plugin, plugin.component


def parameters_schema(cls: type[Component], ref_template: str = "#/$defs/{model}") -> Schema:
    """The JSON Schema of a component's parameters; names and meanings only, where one has a type that JSON lacks."""
    try:
        return _with_short_names(cls.model_json_schema(ref_template=ref_template), ref_template)
    except (PydanticInvalidForJsonSchema, PydanticUserError):
        fields = cls.parameters().items()
        return {"properties": {name: {"description": field.description or ""} for name, field in fields}}


def _with_short_names(schema: Schema, ref_template: str) -> Schema:
    """The same, with definitions called by their titles; pydantic spells out the parameters of generic types."""
    short, references = dict[str, str](), dict[str, str]()
    for name, definition in schema.get("$defs", {}).items():
        title = definition.get("title", name)
        taken = sum(other.rstrip("0123456789") == title for other in short.values())
        short[name] = f"{title}{taken + 1}" if taken else title
        references[ref_template.format(model=name)] = ref_template.format(model=short[name])

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: references.get(inner, inner) if key == "$ref" and isinstance(inner, str) else renamed(inner)
                for key, inner in value.items()
            }
        return [renamed(inner) for inner in value] if isinstance(value, list) else value

    changed: Schema = renamed(schema)
    if short:
        changed["$defs"] = {short[name]: inner for name, inner in changed["$defs"].items()}
    return changed


def _define(
    namespace: str, name: str, cls: type[Component], definitions: dict[str, Schema]
) -> tuple[Schema, list[str]]:
    """Add a plugin's parameters to the definitions: a reference to them, and the keys that it cannot do without."""
    key = f"{namespace.removeprefix('compat.')}.{name}"
    own = parameters_schema(cls, f"#/definitions/{key}.{{model}}")
    for nested, schema in own.get("$defs", {}).items():
        definitions[f"{key}.{nested}"] = _with_sweeps(schema)
    parameters = {field: _or_sweep(_with_sweeps(schema)) for field, schema in own.get("properties", {}).items()}
    definitions[key] = {
        "description": inspect.getdoc(cls) or name,
        "properties": {"use": {}} | _engine_keys(cls) | parameters,
        "additionalProperties": False,
    }
    return {"$ref": f"#/definitions/{key}"}, [*own.get("required", ()), *_needed_keys(cls)]


def _with_sweeps(schema: Schema) -> Schema:
    """A schema whose inner values may be swept too, in the terms of draft 7."""
    changed: Schema = {key: value for key, value in schema.items() if key != "title"}
    if "properties" in changed:
        changed["properties"] = {key: _or_sweep(_with_sweeps(inner)) for key, inner in changed["properties"].items()}
    if isinstance(changed.get("additionalProperties"), dict):
        changed["additionalProperties"] = _or_sweep(_with_sweeps(changed["additionalProperties"]))
    if "items" in changed and isinstance(changed["items"], dict):
        changed["items"] = _or_sweep(_with_sweeps(changed["items"]))
    if "prefixItems" in changed:
        changed["items"] = [_or_sweep(_with_sweeps(inner)) for inner in changed.pop("prefixItems")]
    if "oneOf" in changed:  # with sweeps inside, more than one may fit
        changed["anyOf"] = changed.pop("oneOf")
    for key in ("anyOf", "allOf"):
        if key in changed:
            changed[key] = [_with_sweeps(inner) for inner in changed[key]]
    if "$ref" in changed and len(changed) > 1:  # in draft 7 nothing beside a reference counts
        changed["allOf"] = [{"$ref": changed.pop("$ref")}]
    return changed


def _or_sweep(schema: Schema) -> Schema:
    """The value, or a sweep over such values."""
    about: Schema = {key: schema[key] for key in ("description", "default") if key in schema}
    value = {key: inner for key, inner in schema.items() if key not in about}
    return {**about, "anyOf": [value, {"$ref": "#/definitions/sweep"}]} if value else about


def _first_line(cls: type[Component]) -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def _without_empty(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if value != []}
