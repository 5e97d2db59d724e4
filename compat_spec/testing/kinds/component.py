"""What holds for every component: its help, its parameters, and how cheap it is to import."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from compat_spec.components import Component, Executor, Sink
from compat_spec.errors import CompatError
from compat_spec.testing.checks import Checks, demand
from compat_spec.testing.imports import ImportFailed, heavy_imports
from compat_spec.testing.subject import Subject

check = Checks(Component)

UNKNOWN = "no_such_parameter"

WRONG: tuple[Any, ...] = ({"no": "such"}, "no such value", ["no", ["such"]], -1, 1e30, None, [])
"""Values that fit hardly any parameter."""


@check
def says_what_it_does(subject: Subject) -> None:
    """The docstring's first line says what it does, in a sentence."""
    line = inspect.cleandoc(subject.component.__dict__.get("__doc__") or "").partition("\n")[0]
    demand(
        bool(line),
        f"{subject.name} has no docstring. Lists show its first line: say there what the component does, as in "
        '"The weighted average of the models\' parameters."',
    )
    demand(
        line.rstrip("\"')”").endswith((".", "!", "?")),
        f"The docstring's first line is no whole sentence: {line!r}. Lists show that line alone: say there what "
        f"{subject.name} does, and end it with a full stop.",
    )


@check
def describes_its_parameters(subject: Subject) -> None:
    """Every parameter has a description."""
    silent = [name for name, field in subject.component.parameters().items() if not field.description]
    demand(
        not silent,
        f"Nothing says what {' and '.join(silent)} means: write Field(description=…). It is what `compat plugins show` "
        "and editors tell.",
    )


@check
def has_a_version(subject: Subject) -> None:
    """`version` is a string; it goes into the fingerprint of every step."""
    version = getattr(subject.component, "version", None)
    demand(
        isinstance(version, str) and bool(version),
        f'version is {version!r}, and has to be a string that is not empty, as in `version: ClassVar[str] = "2"`.',
    )
    demand(
        "version" not in subject.component.model_fields,
        "version is a parameter here: annotate it as ClassVar[str], or a spec could set it.",
    )


@check
def can_be_made(subject: Subject) -> None:
    """It implements all that its contract asks for, and takes the parameters that it is checked with."""
    missing = sorted(getattr(subject.component, "__abstractmethods__", ()))
    demand(not missing, f"{subject.name} does not implement {', '.join(missing)}.")
    try:
        subject.make()
    except ValidationError as error:
        found = "\n".join(f"  {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        demand(False, f"{subject.name} does not take {dict(subject.parameters)}:\n{found}")


@check
def has_a_json_schema(subject: Subject) -> None:
    """Editors get a JSON Schema of its parameters."""
    try:
        schema = subject.component.model_json_schema()
    except Exception as error:
        demand(False, f"No JSON Schema can be made of the parameters: {error}. Give them types that YAML can write.")
    wrong = _wrong_with(schema)
    demand(not wrong, f"The JSON Schema of the parameters is not valid: {wrong}.")
    demand(
        schema.get("additionalProperties") is False,
        'The JSON Schema allows parameters that are not known: leave `extra` of model_config at "forbid".',
    )


def _wrong_with(schema: Mapping[str, Any]) -> str:
    """What JSON Schema objects to; nothing where jsonschema, which knows it, is not installed."""
    try:
        jsonschema: Any = import_module("jsonschema")  # it has no types
    except ImportError:
        return ""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
    return ""


@check
def takes_its_own_defaults(subject: Subject) -> None:
    """Every default is a value that the parameter takes when a spec writes it."""
    component = subject.make()
    written = component.model_dump(mode="json")
    for name, field in subject.component.parameters().items():
        if field.is_required() or name in subject.given:
            continue
        try:
            subject.make(**{name: written[name]})
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            demand(False, f"The default of {name} is {written[name]!r}, which it does not take: {reason}.")


@check
def refuses_unknown_parameters(subject: Subject) -> None:
    """A parameter that it does not have is an error that names it."""
    try:
        subject.make(**{UNKNOWN: 1})
    except ValidationError as error:
        demand(
            any(UNKNOWN in one["loc"] for one in error.errors()),
            f"The error for the parameter {UNKNOWN}, which it does not have, does not name it.",
        )
    else:
        demand(False, 'A misspelt parameter would pass in silence: leave `extra` of model_config at "forbid".')


@check
def says_which_parameter_is_wrong(subject: Subject) -> None:
    """A value that does not fit is an error of pydantic that names the parameter; no other error, and no traceback."""
    fitting = subject.parameters
    for name in subject.component.parameters():
        for wrong in WRONG:
            try:
                subject.component.model_validate({**fitting, name: wrong})
            except ValidationError as error:
                named = any(one["loc"] and one["loc"][0] == name for one in error.errors()) or name in str(error)
                demand(named, f"The error for {name}: {wrong!r} does not say that {name} is wrong: {error}.")
            except CompatError as error:
                demand(name in str(error), f"The error for {name}: {wrong!r} does not name it: {error}.")
            except Exception as error:
                demand(
                    False,
                    f"{name}: {wrong!r} ends in {type(error).__name__} ({error}): let a validator raise ValueError, "
                    "whose message becomes an error at its place in the spec.",
                )


@check
def is_frozen(subject: Subject) -> None:
    """Its parameters cannot be changed once it is made."""
    component = subject.make()
    for name in type(component).model_fields:
        try:
            setattr(component, name, getattr(component, name))
        except (ValidationError, AttributeError):
            continue
        demand(False, f"{name} can be set: leave `frozen` of model_config at True. Steps share components.")


@check
def survives_a_round_trip(subject: Subject) -> None:
    """It comes back equal from what is written of it, and from pickle: it crosses to other processes as both."""
    component = subject.make()
    written = component.model_dump(mode="json")
    back = subject.component.model_validate(written)
    demand(
        dict(back) == dict(component),
        f"What is written of its parameters reads as others: {written!r} makes {back!r}, and was {component!r}.",
    )
    if isinstance(component, Executor | Sink):  # it stays in its process
        return
    again = pickle.loads(pickle.dumps(component))
    demand(dict(again) == dict(component), f"Pickled and read again, {component!r} is {again!r}.")


@check
def says_what_it_is_made_of(subject: Subject) -> None:
    """`identity()` and `uses_seed()` say the same each time, in JSON: they go into fingerprints."""
    import json

    component = subject.make()
    first, second = dict(component.identity()), dict(subject.make().identity())
    try:
        json.dumps(first)
    except (TypeError, ValueError) as error:
        demand(False, f"identity() holds what JSON cannot write: {error}.")
    demand(first == second, f"identity() says {first!r} at first and {second!r} the next time.")
    seeded = component.uses_seed()
    demand(isinstance(seeded, bool), f"uses_seed() is {seeded!r}, and has to be True or False.")


@check
def is_cheap_to_import(subject: Subject) -> None:
    """Importing its module imports nothing that takes seconds, such as torch."""
    module = subject.component.__module__
    try:
        heavy = heavy_imports(module)
    except ImportFailed as error:
        demand(False, f"{module} cannot be imported in a process of its own:\n{error}")
    demand(
        not heavy,
        f"Importing {module} imports {' and '.join(heavy)}: `compat validate` imports the module of every component "
        "that a spec names. Import it inside the methods that compute, and for types under `if TYPE_CHECKING:`.",
    )
