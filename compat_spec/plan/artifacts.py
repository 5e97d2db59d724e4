"""The steps that make artifacts: examples, tokens, models, merges; each once, however many things need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compat_spec.components import Component, ModuleMerge, TaskName, TensorMerge, names_in
from compat_spec.plan.fingerprint import component_content, fingerprint
from compat_spec.plan.points import Assignment, Points, Reference, references_of, select
from compat_spec.plan.steps import ComponentCall, Step, StepKind
from compat_spec.spec.spec import Declaration, MergeVariant, ModelRef, ModelVariant, Point, Spec, TaskVariant
from compat_spec.store import ArtifactRef


class Artifacts:
    """From names of the spec, at a point of its sweeps, to the artifacts that they stand for.

    Attributes:
        steps: the steps that make what has been asked for, by fingerprint; each after what it needs.
    """

    def __init__(self, spec: Spec, points: Points) -> None:
        self.spec = spec
        self.points = points
        self.steps: dict[str, Step] = {}
        self._refs: dict[tuple[Any, ...], ArtifactRef] = {}
        self._found: dict[int, list[Reference]] = {}
        self._contents: dict[tuple[int, tuple[str, ...]], dict[str, Any]] = {}

    # --------------------------------------------------------------------------------------------------- tasks

    def task(self, name: str, assignment: Assignment) -> ArtifactRef:
        declaration = self.spec.tasks[name]
        variant: TaskVariant = select(declaration, assignment)
        return self.once(
            ("task", name, self._relevant(declaration, variant, assignment)),
            lambda: self.step(
                StepKind.TASK,
                f"examples of {name}",
                content=self.content(variant.use, variant.task, {}),
                inputs={},
                component=ComponentCall.of(variant.use, variant.task),
            ),
        )

    def encoded(self, task: str, tokenizer: ArtifactRef, assignment: Assignment) -> ArtifactRef:
        """The task as tokens of a tokenizer."""
        examples = self.task(task, assignment)
        variant: TaskVariant = select(self.spec.tasks[task], assignment)
        return self.once(
            ("encode", examples, tokenizer),
            lambda: self.step(
                StepKind.ENCODE,
                f"tokens of {task}",
                content={"task": str(examples), "tokenizer": str(tokenizer), "score": variant.task.score},
                inputs={"task": examples, "tokenizer": tokenizer},
                settings={"score": variant.task.score},
            ),
        )

    # -------------------------------------------------------------------------------------------------- models

    def tokenizer(self, model: str, assignment: Assignment) -> ArtifactRef:
        """The tokenizer of a model: that of the source that it descends from."""
        declaration = self.spec.models[model]
        variant: ModelVariant = select(declaration, assignment)
        if variant.parent is not None:
            return self.tokenizer(variant.parent.name, assignment)
        source, use = variant.source, variant.source_use
        assert source is not None
        assert use is not None

        def make() -> ArtifactRef:
            tasks = {name: self.task(name, assignment) for name in names_in(source, TaskName)}
            content = dict(self.content(use, source, tasks))
            if source.tokenizer_fields is not None:
                content["params"] = {key: content["params"][key] for key in sorted(source.tokenizer_fields)}
            return self.step(
                StepKind.TOKENIZER,
                f"tokenizer of {model}",
                content=content,
                inputs={f"task:{name}": ref for name, ref in tasks.items()},
                component=ComponentCall.of(use, source),
            )

        return self.once(("tokenizer", model, self._relevant(declaration, variant, assignment)), make)

    def model(self, ref: ModelRef, assignment: Assignment, seed: int) -> ArtifactRef:
        """A model at the end of its training, or its checkpoint; or what a merge makes."""
        if ref.name in self.spec.merges:
            return self.merge(ref.name, assignment, seed)
        declaration = self.spec.models[ref.name]
        variant: ModelVariant = select(declaration, assignment)
        key = ("model", ref.name, self._relevant(declaration, variant, assignment), seed)
        whole = self.once(key, lambda: self._model(ref.name, variant, assignment, seed))
        if ref.step is None or (variant.trainer is not None and ref.step == variant.trainer.last_step()):
            return whole
        return ArtifactRef(whole.fingerprint, f"step-{ref.step}")

    def _model(self, name: str, variant: ModelVariant, assignment: Assignment, seed: int) -> ArtifactRef:
        if variant.parent is not None:
            start = self.model(variant.parent, assignment, seed)
        else:
            start = self._source(name, assignment, seed)
        if variant.trainer is None:
            return start
        assert variant.trainer_use is not None
        tokens = self._tokens(variant.trainer, self.tokenizer(name, assignment), assignment)
        own_seed = seed if variant.trainer.uses_seed() else None
        return self.step(
            StepKind.TRAIN,
            f"train {name}{self.suffix(assignment, own_seed)}",
            content={
                "parent": str(start),
                "trainer": self.content(variant.trainer_use, variant.trainer, tokens),
                "seed": own_seed,
            },
            inputs={"parent": start} | {f"tokens:{task}": ref for task, ref in tokens.items()},
            component=ComponentCall.of(variant.trainer_use, variant.trainer),
            seed=own_seed,
            tokens=variant.trainer.tokens(),
        )

    def _source(self, name: str, assignment: Assignment, seed: int) -> ArtifactRef:
        declaration = self.spec.models[name]
        variant: ModelVariant = select(declaration, assignment)
        source, use = variant.source, variant.source_use
        assert source is not None
        assert use is not None
        tokenizer = self.tokenizer(name, assignment)
        tasks = {task: self.task(task, assignment) for task in names_in(source, TaskName)}
        own_seed = seed if source.uses_seed() else None
        return self.step(
            StepKind.SOURCE,
            f"start of {name}{self.suffix(_deciding(declaration, assignment), own_seed)}",
            content={"source": self.content(use, source, tasks), "tokenizer": str(tokenizer), "seed": own_seed},
            inputs={"tokenizer": tokenizer},
            component=ComponentCall.of(use, source),
            seed=own_seed,
        )

    # -------------------------------------------------------------------------------------------------- merges

    def merge(self, name: str, assignment: Assignment, seed: int) -> ArtifactRef:
        declaration = self.spec.merges[name]
        variant: MergeVariant = select(declaration, assignment)
        key = ("merge", name, self._relevant(declaration, variant, assignment), seed)
        return self.once(key, lambda: self._merge(name, variant, assignment, seed))

    def tokenizer_of_merge(self, name: str, assignment: Assignment, seed: int) -> ArtifactRef:
        """The tokenizer of what a merge makes: that of its first model, unless it says another."""
        variant: MergeVariant = select(self.spec.merges[name], assignment)
        merge = variant.merge
        if isinstance(merge, TensorMerge) and merge.vocabulary == "union":
            return self.merge(name, assignment, seed)  # its folder has one of its own
        owner = merge.tokenizer or merge.owner if isinstance(merge, TensorMerge) else merge.models[0]
        refs: dict[str, ModelRef] = dict(variant.others) | dict(zip(merge.models, variant.experts, strict=True))
        return self._tokenizer_of(refs[owner].name, assignment, seed)

    def _tokenizer_of(self, name: str, assignment: Assignment, seed: int) -> ArtifactRef:
        """The tokenizer of a model or merge."""
        if name in self.spec.merges:
            return self.tokenizer_of_merge(name, assignment, seed)
        return self.tokenizer(name, assignment)

    def _merge(self, name: str, variant: MergeVariant, assignment: Assignment, seed: int) -> ArtifactRef:
        experts = [self.model(ref, assignment, seed) for ref in variant.experts]
        others = {written: self.model(ref, assignment, seed) for written, ref in variant.others.items()}
        tokenizer = self._tokenizer_of(variant.experts[0].name, assignment, seed)
        named = dict(zip(variant.merge.models, experts, strict=True)) | others
        tasks = self._tokens(variant.merge, tokenizer, assignment)
        content: dict[str, Any] = {
            "merge": self.content(variant.use, variant.merge, named | tasks),
            "experts": [str(expert) for expert in experts],
        }
        inputs = {f"expert:{index}": expert for index, expert in enumerate(experts)}
        inputs |= {f"model:{written}": ref for written, ref in others.items()}
        inputs |= {f"tokens:{task}": ref for task, ref in tasks.items()}
        seeded = variant.merge.uses_seed()
        trainer = None
        if variant.trainer is not None:
            assert variant.trainer_use is not None
            tokens = self._tokens(variant.trainer, tokenizer, assignment)
            content["trainer"] = self.content(variant.trainer_use, variant.trainer, tokens)
            inputs |= {f"tokens:{task}": ref for task, ref in tokens.items()}
            seeded = seeded or variant.trainer.uses_seed()
            trainer = ComponentCall.of(variant.trainer_use, variant.trainer)
        own_seed = seed if seeded else None
        content["seed"] = own_seed
        return self.step(
            StepKind.MERGE,
            f"merge {name}{self.suffix(assignment, seed)}",
            content=content,
            inputs=inputs,
            component=ComponentCall.of(variant.use, variant.merge),
            trainer=trainer,
            seed=own_seed,
            settings={"sweeps": trainer is None and isinstance(variant.merge, ModuleMerge) and variant.merge.sweeps},
            tokens=variant.trainer.tokens() if variant.trainer else None,
        )

    # ------------------------------------------------------------------------------------------------- helpers

    def _tokens(self, component: Component, tokenizer: ArtifactRef, assignment: Assignment) -> dict[str, ArtifactRef]:
        return {name: self.encoded(name, tokenizer, assignment) for name in names_in(component, TaskName)}

    def content(self, use: str, component: Component, named: Mapping[str, ArtifactRef]) -> dict[str, Any]:
        """The component's part of a fingerprint; computed once, for thousands of steps may share it."""
        key = (id(component), tuple(str(ref) for ref in named.values()))
        if key not in self._contents:
            self._contents[key] = component_content(use, component, lambda name: str(named[name]))
        return self._contents[key]

    def step(
        self,
        kind: StepKind,
        label: str,
        content: Mapping[str, Any],
        inputs: Mapping[str, ArtifactRef],
        component: ComponentCall | None = None,
        trainer: ComponentCall | None = None,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
        tokens: int | None = None,
    ) -> ArtifactRef:
        key = fingerprint({"kind": kind.value, **content})
        self.steps.setdefault(
            key, Step(key, kind, label, dict(inputs), component, trainer, seed, settings or {}, tokens, content)
        )
        return ArtifactRef(key)

    def once(self, key: tuple[Any, ...], make: Callable[[], ArtifactRef]) -> ArtifactRef:
        if key not in self._refs:
            self._refs[key] = make()
        return self._refs[key]

    def _relevant(self, declaration: Declaration[Any], variant: Any, assignment: Assignment) -> Assignment:
        """The part of an assignment that a declaration depends on, upstream included."""
        axes = {axis.name for axis in declaration.axes}
        for kind, name in self._references(variant):
            upstream: Declaration[Any] = self.spec.tasks[name] if kind == "task" else self.spec.model_or_merge(name)
            axes |= {name for name, _ in self._relevant(upstream, select(upstream, assignment), assignment)}
        return tuple(pair for pair in assignment if pair[0] in axes)

    def _references(self, variant: Any) -> list[Reference]:
        """What a variant refers to; found once, for thousands of steps may ask."""
        if id(variant) not in self._found:
            self._found[id(variant)] = references_of(variant)
        return self._found[id(variant)]

    def suffix(self, assignment: Assignment, seed: int | None) -> str:
        """` (alpha 0.5, seed 0)`, to tell apart the steps of one name."""
        values: dict[str, Any] = {}
        for name, index in assignment:
            axis = self.points.axes[name]
            values.update(zip(axis.columns, axis.values[index], strict=True))
        if seed is not None and len(self.spec.seeds) > 1:
            values["seed"] = seed
        return f" ({', '.join(f'{key} {value}' for key, value in values.items())})" if values else ""


def _deciding(declaration: Declaration[ModelVariant], assignment: Assignment) -> Assignment:
    """The part of an assignment that decides the source of a model: not what its training alone depends on."""
    left_out = set()
    for place, axis in enumerate(declaration.axes):
        alike: dict[Point, list[ModelVariant]] = {}
        for point, variant in declaration.variants.items():
            alike.setdefault(point[:place] + point[place + 1 :], []).append(variant)
        if all(variant.source == variants[0].source for variants in alike.values() for variant in variants):
            left_out.add(axis.name)
    return tuple(pair for pair in assignment if pair[0] not in left_out)
