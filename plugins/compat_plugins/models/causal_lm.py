"""The model source for any causal language model of transformers: from a config, a folder, or a hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from compat_plugins.models.folders import (
    adapter_folder,
    check_model_folder,
    checksum_of_folder,
    checksum_of_vocabulary,
    has_vocabulary,
    needs_code,
    read_json,
    resolved,
)
from compat_plugins.models.known_configs import check_config
from compat_spec.components import Example, ModelSource, TaskName
from compat_spec.errors import CompatError
from compat_spec.nn.weights import Weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compat_spec.nn.network import Tokenizer

END_OF_TEXT = "<|endoftext|>"
BYTES = 256

SAME_KEY = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "ffn_dim": "intermediate_size",
    "n_positions": "max_position_embeddings",
}
SHAPES = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)


class TokenizerChoice(BaseModel):
    """Which tokenizer a model has: one that is trained on tasks of the spec, or a ready one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_on: tuple[TaskName, ...] | None = Field(
        default=None, min_length=1, description="Train a byte-level BPE on the training texts of these tasks."
    )
    vocab_size: int = Field(
        default=1024,
        gt=BYTES + 1,
        description="How many tokens to learn, the 256 bytes and the end of text included; fewer where the text has "
        "no more pairs to join.",
    )
    split_digits: bool = Field(default=True, description="Whether every digit is a token of its own.")
    path: Path | None = Field(default=None, description="A folder with a ready tokenizer.")
    hub: str | None = Field(default=None, min_length=1, description="The hub id of a ready tokenizer.")
    revision: str | None = Field(default=None, description="The branch, tag or commit on the hub.")

    @field_validator("path")
    @classmethod
    def _is_tokenizer(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None:
            return None
        folder = resolved(path, info)
        if not has_vocabulary(folder):
            raise ValueError(f"{folder} has no tokenizer.json and no other vocabulary")
        return folder

    @model_validator(mode="after")
    def _is_one_kind(self) -> TokenizerChoice:
        _exactly_one(self, "train_on", "path", "hub")
        _only_with(self, "hub", "revision")
        _only_with(self, "train_on", "vocab_size", "split_digits")
        return self


class CausalLM(ModelSource):
    """Any causal language model of transformers: started at random from a config, read from a folder, or from a hub.

    Weights are read from safetensors only. A config means what transformers says that it means: dropout, for one, is
    0.1 for gpt2 unless resid_pdrop, embd_pdrop and attn_pdrop are 0. The vocabulary's size and the special tokens are
    filled in from the tokenizer.

    Example:
        use: causal_lm
        config: {model_type: gpt2, n_layer: 4, n_embd: 128, n_head: 4, n_positions: 128}
        tokenizer: {train_on: [docs], vocab_size: 1024}
    """

    tokenizer_fields: ClassVar[frozenset[str] | None] = frozenset(
        {"tokenizer", "path", "hub", "revision", "trust_remote_code"}
    )

    config: dict[str, Any] | None = Field(
        default=None,
        description="Start at random from this config of transformers: model_type and the keys of its config class.",
    )
    path: Path | None = Field(default=None, description="Read a model from a folder, as save_pretrained writes it.")
    hub: str | None = Field(default=None, min_length=1, description="Fetch a model from the hub by its id.")
    revision: str | None = Field(
        default=None, description="The branch, tag or commit on the hub; name a commit, for the others may change."
    )
    adapter: Path | None = Field(
        default=None, description="A folder with a LoRA adapter, as peft writes it, to be folded into the model."
    )
    tokenizer: TokenizerChoice | None = Field(
        default=None, description="The tokenizer; by default the model's own. A config needs one."
    )
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        default="float32", description="What the parameters are stored in; `auto` is as they were saved."
    )
    trust_remote_code: bool = Field(
        default=False, description="Run the code that comes with a model or a tokenizer. Only for code that you trust."
    )

    @field_validator("config")
    @classmethod
    def _is_known(cls, config: dict[str, Any] | None) -> dict[str, Any] | None:
        if config is not None:
            check_config(config)
            if not isinstance(config.get("vocab_size", 0), int):
                raise ValueError("vocab_size is a whole number; leave it out for that of the tokenizer")
        return config

    @field_validator("path")
    @classmethod
    def _is_model(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None:
            return None
        folder = resolved(path, info)
        check_model_folder(folder)
        return folder

    @field_validator("adapter")
    @classmethod
    def _is_adapter(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return None if path is None else adapter_folder(path, info)

    @model_validator(mode="after")
    def _fits_together(self) -> CausalLM:
        _exactly_one(self, "config", "path", "hub")
        _only_with(self, "hub", "revision")
        if self.config is not None and self.adapter is not None:
            raise ValueError("an adapter belongs to a model that is read: give path or hub instead of config")
        if self.config is not None and self.tokenizer is None:
            raise ValueError("a model from a config needs a tokenizer, such as tokenizer: {train_on: [a task]}")
        if self.path is not None and not self.trust_remote_code and needs_code(self.path):
            raise ValueError(f"{self.path} runs code of its own; if you trust it, say trust_remote_code: true")
        if self.path is not None and self.tokenizer is None and not has_vocabulary(self.path):
            raise ValueError(f"{self.path} has no tokenizer.json and no other vocabulary: name one with `tokenizer`")
        return self

    def uses_seed(self) -> bool:
        return self.config is not None

    def identity(self) -> Mapping[str, Any]:
        """The checksums of the folders that it reads."""
        folders = {
            "path": self.path,
            "adapter": self.adapter,
            "tokenizer": self.tokenizer.path if self.tokenizer else None,
        }
        return {name: checksum_of_folder(folder) for name, folder in folders.items() if folder is not None}

    def architecture(self) -> Mapping[str, Any] | None:
        if self.hub is not None:
            return None
        given = self.config if self.config is not None else read_json(self.path / "config.json") if self.path else {}
        known = {SAME_KEY.get(key, key): value for key, value in given.items() if value is not None}
        facts = {key: known[key] for key in SHAPES if key in known}
        if self.tokenizer is not None and self.tokenizer.train_on is not None:
            facts["tokenizer"] = self.tokenizer.model_dump(mode="json", exclude={"path", "hub", "revision"})
            facts.setdefault("vocab_size", self.tokenizer.vocab_size)
        folder = self.tokenizer.path if self.tokenizer else self.path
        vocabulary = checksum_of_vocabulary(folder) if folder else None
        return facts | ({"vocabulary": vocabulary} if vocabulary else {})

    def weights(self) -> Weights | None:
        as_stored = self.dtype in ("float32", "auto") and self.tokenizer is None
        if self.config is not None or not as_stored:
            return None
        return Weights(self.path or self._fetched(), self.adapter)

    def _fetched(self) -> Path:
        """The folder of the hub's cache with the model's files, after those that are missing there were fetched."""
        from huggingface_hub import snapshot_download

        from compat_spec.nn.hub import quiet_hub
        from compat_spec.nn.opening import reason

        assert self.hub is not None
        wanted = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
        try:
            with quiet_hub():
                return Path(snapshot_download(self.hub, revision=self.revision, allow_patterns=wanted))
        except Exception as error:  # whatever the network makes of it
            raise CompatError(f"the model {self.hub} cannot be fetched: {reason(error, self.hub)}") from error

    def make_tokenizer(self, examples: Mapping[TaskName, Sequence[Example]]) -> Tokenizer:
        choice = self.tokenizer
        if choice is not None and choice.train_on is not None:
            texts = [example.text for task in choice.train_on for example in examples[task]]
            return _train_tokenizer(texts, choice.vocab_size, choice.split_digits)
        tokenizer = self._ready_tokenizer(choice)
        if tokenizer.eos_token_id is None:
            raise CompatError("the tokenizer has no end-of-text token (eos_token), which ends every example")
        return tokenizer

    def _ready_tokenizer(self, choice: TokenizerChoice | None) -> Tokenizer:
        from transformers import AutoTokenizer

        from compat_spec.nn.hub import quiet_hub
        from compat_spec.nn.network import load_tokenizer
        from compat_spec.nn.opening import reason

        source = choice or self
        place = source.path or source.hub
        try:
            if source.path is not None and not self.trust_remote_code:
                tokenizer = load_tokenizer(source.path)
            else:
                with quiet_hub():
                    tokenizer = AutoTokenizer.from_pretrained(
                        place, revision=source.revision or "main", trust_remote_code=self.trust_remote_code
                    )
        except Exception as error:  # whatever a tokenizer makes of a file that is damaged
            raise CompatError(f"the tokenizer of {place} cannot be read: {reason(error, place)}") from error
        if not tokenizer("A word.", add_special_tokens=False)["input_ids"]:
            raise CompatError(f"the tokenizer of {place} makes no tokens of a text: its vocabulary is missing")
        return tokenizer

    def make_model(self, tokenizer: Tokenizer) -> PreTrainedModel:
        if self.config is not None:
            return self._from_config(self.config, tokenizer)
        import torch

        from compat_spec.nn.adapters import fold_in
        from compat_spec.nn.opening import open_model

        place = self.path or self.hub or ""
        model = open_model(
            place,
            revision=self.revision or "main",
            dtype=self.dtype if self.dtype == "auto" else getattr(torch, self.dtype),
            trust_remote_code=self.trust_remote_code,
        )
        if self.adapter is not None:
            fold_in(model, Weights(self.path or self._fetched(), self.adapter))
        rows = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
        if len(tokenizer) > rows:
            raise CompatError(f"the tokenizer has {len(tokenizer)} tokens, and the model {place} knows {rows} only")
        return model

    def _from_config(self, given: Mapping[str, Any], tokenizer: Tokenizer) -> PreTrainedModel:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

        from compat_spec.nn.opening import reason

        if given["model_type"] not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise CompatError(f"transformers has no causal language model of model_type {given['model_type']}")
        of_tokenizer = {
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        parameters = {**of_tokenizer, **given}
        if parameters["vocab_size"] < len(tokenizer):
            raise CompatError(
                f"the config's vocab_size {parameters['vocab_size']} has no room for the {len(tokenizer)} tokens of "
                "the tokenizer: leave it out"
            )
        try:
            config = AutoConfig.for_model(**parameters)
            dtype = torch.float32 if self.dtype == "auto" else getattr(torch, self.dtype)
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever a model makes of sizes that do not fit
            what = f"transformers cannot make a {given['model_type']} of this config"
            raise CompatError(f"{what}: {reason(error)}") from error
        return model


def _train_tokenizer(texts: Sequence[str], vocab_size: int, split_digits: bool) -> Tokenizer:
    """A byte-level BPE (Sennrich et al., 2016, arXiv 1508.07909), which can write every text and read it back."""
    from tokenizers import Tokenizer as Core
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Core(models.BPE())
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    core.pre_tokenizer = pre_tokenizers.Sequence([digits, to_bytes]) if split_digits else to_bytes
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer, length=len(texts))
    fast: type[Any] = PreTrainedTokenizerFast
    tokenizer: Tokenizer = fast(tokenizer_object=core, eos_token=END_OF_TEXT, clean_up_tokenization_spaces=False)
    return tokenizer


# ------------------------------------------------------------------------------------------------------------ checks


def _exactly_one(model: BaseModel, *fields: str) -> None:
    given = [field for field in fields if getattr(model, field) is not None]
    if len(given) != 1:
        found = f"both {' and '.join(given)} are given" if given else "none is given"
        raise ValueError(f"needs exactly one of {', '.join(fields)}: {found}")


def _only_with(model: BaseModel, field: str, *others: str) -> None:
    for other in others:
        if getattr(model, field) is None and getattr(model, other) != type(model).model_fields[other].default:
            raise ValueError(f"{other} has a meaning together with {field} only")
