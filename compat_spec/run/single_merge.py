"""One merge of a spec, written into a folder of its own, without the rest of the experiment."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from compat_spec.components import Executor, ModelSource, TaskName, TensorMerge, names_in
from compat_spec.errors import CompatError, UsageError
from compat_spec.nn.checkpoint import INDEX, Checkpoint
from compat_spec.nn.merged_config import CONFIG
from compat_spec.nn.shards import SHARD_BYTES, copy_tensors
from compat_spec.nn.weights import Weights
from compat_spec.plan import Plan
from compat_spec.plan.build import plan_merge, plan_models
from compat_spec.plan.needed import needed_steps
from compat_spec.plan.points import Assignment, Points, select
from compat_spec.run.appearing import appearing
from compat_spec.run.folders import merging_of, write_beside
from compat_spec.run.forecast import Forecast, forecast_of, forecast_of_adapter
from compat_spec.run.model_card import model_card, spec_of_merge
from compat_spec.run.studying import TensorStudy
from compat_spec.spec.problems import nearest
from compat_spec.spec.spec import MergeVariant, ModelRef, Spec
from compat_spec.store import ArtifactRef, Store

if TYPE_CHECKING:
    from compat_spec.run.events import Listener
    from compat_spec.run.experiment import RunSummary


class SingleMerge:
    """A merge of a spec, by its name.

    Models that are folders or files already are read where they are. Models that the spec trains come from the store,
    and are made first where it lacks them. A merge that studies its models on a task is made in the store, too. Merges
    that it is made of are written beside it until it is done, unless they need the store.

    Raises:
        UsageError: there is no such merge, its sweeps leave open which one is meant, or it is no merge of tensors.
    """

    def __init__(self, spec: Spec, name: str, store: Store) -> None:
        self.spec, self.name, self.store = spec, name, store
        self.assignment = _only_point(spec, name)
        self.variant: MergeVariant = select(spec.merges[name], self.assignment)
        if not isinstance(self.variant.merge, TensorMerge):
            raise UsageError(
                f"{name} is not a merge of tensors: {self.variant.use} runs its models, and what it makes is no model "
                "of its own; compat run measures it"
            )
        self.merge: TensorMerge = self.variant.merge
        self._places: dict[str, Weights] = {}
        self._read: dict[str, tuple[str, ModelSource]] = {}
        self._studies = any(True for _ in names_in(self.merge, TaskName))
        refs = dict(zip(self.merge.models, self.variant.experts, strict=True)) | dict(self.variant.others)
        self._inner = {} if self._studies else self._inner_merges(refs.values())
        self._made = {
            written: ref
            for written, ref in refs.items()
            if written not in self._inner and not self._lies_somewhere(written, ref)
        }

    def _inner_merges(self, refs: Iterable[ModelRef]) -> dict[str, SingleMerge]:
        """The merges among the models that need nothing but tensors that lie somewhere."""
        names = dict.fromkeys(ref.name for ref in refs if ref.name in self.spec.merges)
        found = {name: SingleMerge(self.spec, name, self.store) for name in names}
        return {name: inner for name, inner in found.items() if not inner._made and not inner._studies}

    def _lies_somewhere(self, written: str, ref: ModelRef) -> bool:
        """Whether a model can be read where it is."""
        if ref.name in self.spec.merges:
            return False
        variant = select(self.spec.models[ref.name], self.assignment)
        weights = variant.source.weights() if variant.source is not None and variant.trainer is None else None
        if weights is None:
            return False
        assert variant.source is not None
        assert variant.source_use is not None
        self._places[written] = weights
        self._read[written] = variant.source_use, variant.source
        return True

    # ---------------------------------------------------------------------------------------------- what comes first

    def plan(self) -> Plan | None:
        """The steps that the store must have first; None when there are none."""
        if self._studies:
            return plan_merge(self.spec, self.name, self.assignment)[0]
        return plan_models(self.spec, self._made.values(), self.assignment)[0] if self._made else None

    def prepare(self, executor: Executor, *, devices: str, listener: Listener) -> RunSummary | None:
        """Make what the store lacks. None when it lacks nothing."""
        plan = self.plan()
        if plan is None or not needed_steps(plan, self.store):
            return None
        # only now what writes to databases, which takes its time to import
        from compat_spec.results import open_results
        from compat_spec.run.experiment import run_plan

        with tempfile.TemporaryDirectory() as folder:  # nothing is measured, so no results are left
            results = open_results(Path(folder) / "results.db", create=True)
            return run_plan(plan, self.store, results, executor, devices=devices, listener=listener)

    # ---------------------------------------------------------------------------------------------------- the merge

    def forecast(self, adapter: int | None = None) -> Forecast:
        """What is to be read and written. Raises `CompatError` when the models do not go together.

        Args:
            adapter: the rank for `write_adapter`; None is for `write`.
        """
        plan = self.plan()
        steps = len(needed_steps(plan, self.store)) if plan is not None else 0
        if steps:
            return Forecast(steps)
        if self._studies:
            size = self.store.manifest(self._artifact().fingerprint).size
            return Forecast(0, None, size, size)
        if self._inner:
            return Forecast(0, first={name: inner.forecast() for name, inner in self._inner.items()})
        with merging_of(self.merge, self._all_places()) as merging:
            if adapter is not None:
                return forecast_of_adapter(merging, self._only_start(), adapter)
            return forecast_of(merging)

    def write(
        self,
        out: Path,
        *,
        device: str = "cpu",
        shard_bytes: int = SHARD_BYTES,
        progress: Callable[[int, int, str], None] = lambda done, total, name: None,
    ) -> None:
        """Write the folder, after `prepare`. It appears when it is whole, and not at all when something goes wrong.

        Raises:
            CompatError: `out` is there already, the disk has no room, or the models do not go together.
        """
        card = self._card(out, library="transformers" if self._is_model() else None)
        with appearing(out) as folder:
            (folder / "README.md").write_text(card, "utf-8")
            if self._studies:
                made = self.store.path(self._artifact())
                no_tensors = shutil.ignore_patterns("artifact.json", "*.safetensors", INDEX)
                shutil.copytree(made, folder, dirs_exist_ok=True, ignore=no_tensors)
                copy_tensors(made, folder, shard_bytes)
                return
            with self._inner_written(folder, device, progress):
                places = self._all_places()
                with merging_of(self.merge, places) as merging:
                    _check_room(folder, merging.bytes_to_write)
                    seed = self.spec.seeds[0]
                    study = TensorStudy(merging, places, folder, seed=seed, device=device, progress=progress)
                    merging.write(
                        folder,
                        seed=seed,
                        found=self.merge.study(study),
                        device=device,
                        shard_bytes=shard_bytes,
                        progress=progress,
                    )
                write_beside(merging, places, folder)

    @contextmanager
    def _inner_written(self, folder: Path, device: str, progress: Callable[[int, int, str], None]) -> Iterator[None]:
        """The merges that this one is made of, in a folder inside that goes away at the end."""
        if not self._inner:
            yield
            return
        with tempfile.TemporaryDirectory(dir=folder) as made:
            for name, inner in self._inner.items():
                inner.write(Path(made) / name, device=device, progress=progress)
                self._places[name] = Weights(Path(made) / name)
            try:
                yield
            finally:
                for name in self._inner:
                    del self._places[name]

    def write_adapter(
        self, out: Path, rank: int, *, progress: Callable[[int, int, str], None] = lambda done, total, name: None
    ) -> float:
        """Write a merge of adapters of one model as an adapter of this rank, after `prepare`.

        Returns what `compat_spec.nn.low_rank.write_adapter` returns: the share of the differences that is kept.

        Raises:
            CompatError: the models are not all adapters of one model, or what `write` raises.
        """
        from compat_spec.nn.adapters import Adapted
        from compat_spec.nn.low_rank import write_adapter

        places, start = self._all_places(), self._only_start()
        with appearing(out) as folder, merging_of(self.merge, places) as merging, Checkpoint(start) as base:
            if merging.blocks is not None:
                raise UsageError(f"{self.name} cannot be written as an adapter: it has other blocks than its models")
            models = [model.tensors for model in merging.models if isinstance(model.tensors, Adapted)]
            seed = self.spec.seeds[0]
            study = TensorStudy(merging, places, folder, seed=seed, device="cpu", progress=progress)
            found = self.merge.study(study)
            card = self._card(out, library="peft", relation="adapter")
            (folder / "README.md").write_text(card, "utf-8")
            return write_adapter(
                merging,
                models,
                base,
                folder,
                rank=rank,
                base_name=str(start),
                seed=seed,
                found=found,
                progress=progress,
            )

    def _only_start(self) -> Path:
        """The model that all models of the merge are adapters of."""
        if self._inner:
            raise UsageError(f"{self.name} cannot be written as an adapter: {next(iter(self._inner))} is a merge")
        places = self._all_places()
        starts = {place.place for place in places.values()}
        apart = [name for name in self.merge.models if places[name].adapter is None]
        if self._studies or apart or len(starts) != 1:
            why = (
                f"{apart[0]} is not" if apart else "they are not of one model" if len(starts) > 1 else "it needs a task"
            )
            raise UsageError(f"{self.name} cannot be written as an adapter: all its models must be adapters, and {why}")
        if self.merge.aligns:
            raise UsageError(f"{self.name} cannot be written as an adapter: it changes the vocabulary")
        return starts.pop()

    @cached_property
    def _refs(self) -> dict[str, ArtifactRef]:
        """The models that the spec makes, in the store."""
        if not self._made:
            return {}
        return dict(zip(self._made, plan_models(self.spec, self._made.values(), self.assignment)[1], strict=True))

    def _all_places(self) -> Mapping[str, Weights]:
        """Where each model lies, by its name as written."""
        return self._places | {written: Weights(self.store.path(ref)) for written, ref in self._refs.items()}

    def _artifact(self) -> ArtifactRef:
        return plan_merge(self.spec, self.name, self.assignment)[1]

    def _is_model(self) -> bool:
        """Whether the result has a config, by which transformers opens it."""
        inner = self._inner.get(self.merge.owner)
        if inner is not None:
            return inner._is_model()
        return self._studies or (self._all_places()[self.merge.owner].place / CONFIG).exists()

    def _card(self, out: Path, *, library: str | None, relation: str = "merge") -> str:
        made = {written: f"made by the spec, {ref}" for written, ref in self._refs.items()}
        inner = {
            name: f"a merge of the same spec: {one.variant.use} of {', '.join(one.merge.models)}"
            for name, one in self._inner.items()
        }
        sources = {written: str(place) for written, place in self._places.items()} | made | inner
        read, merges = self._again()
        ids = [str(hub) for _, source in read.values() if (hub := getattr(source, "hub", None))]
        text = (
            spec_of_merge(self.spec, read, merges)
            if not self._made and not self._studies
            else self.spec.text  # what trains its models, or looks at them, may be anything in it
        )
        return model_card(
            out.name,
            self.variant.use,
            self.merge,
            sources,
            text,
            library=library,
            relation=relation,
            base_models=list(dict.fromkeys(ids)),
        )

    def _again(self) -> tuple[dict[str, tuple[str, ModelSource]], dict[str, tuple[str, TensorMerge]]]:
        """The sources and merges that make it, by what the spec calls them; the merge itself is the last."""
        read: dict[str, tuple[str, ModelSource]] = {}
        merges: dict[str, tuple[str, TensorMerge]] = {}
        for inner in self._inner.values():
            its_read, its_merges = inner._again()
            read, merges = read | its_read, merges | its_merges
        return read | self._read, merges | {self.name: (self.variant.use, self.merge)}


def _only_point(spec: Spec, name: str) -> Assignment:
    """The point of the sweeps at which the merge is meant."""
    if name not in spec.merges:
        raise UsageError(f"{spec.path}: no merge {name!r}; {nearest(name, list(spec.merges), 'declared')}")
    points = Points(spec)
    found = points.of(("merge", name))
    if len(found) == 1:
        return found[0]
    swept = sorted({axis for assignment in found for axis, _ in assignment})
    axis = points.axes[swept[0]]
    example = f"--set {axis.name}={axis.values[0][0]}" if not axis.name.startswith("zip:") else "--set"
    raise UsageError(
        f"{name} is swept, and stands for {len(found)} merges: choose one by setting {', '.join(swept)}, for example "
        f"{example}"
    )


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise CompatError(f"the merge takes {size / 1e9:.1f} GB, and {folder.parent} has {free / 1e9:.1f} GB left")
