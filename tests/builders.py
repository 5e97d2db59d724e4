"""The tiny networks of the conformance kit, and a session of a real run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from compat_spec.run.session import Session
from compat_spec.testing.tiny import END, byte_tokenizer, tiny_config, tiny_network

__all__ = ["END", "byte_tokenizer", "tiny_config", "tiny_network", "undisturbed_session"]


def undisturbed_session(folder: Path, save: Callable[[Path], None] = lambda _: None) -> Session:
    """The session of a training that nobody stops, and that saves nothing in between."""
    return Session(
        folder,
        seed=0,
        device="cpu",
        save=save,
        tell=lambda *_: None,
        stopping=lambda: False,
        checkpoint_every=float("inf"),
    )
