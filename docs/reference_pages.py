"""A hook of MkDocs: the reference, a page for each component, made from its class.

The pages stand in the navigation where `reference/index.md` is named. Components of others that happen to be installed
where the site is built have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from compat_spec import registry
from compat_spec.spec.about import About

START = "reference/index.md"
DISTRIBUTIONS = ("compat-spec", "compat-ray")

KINDS = {
    "models": "How a base model comes to be.",
    "trainers": "How an expert is made of a base, and how the routers of a merge are trained.",
    "tasks": "Where examples come from, and how answers are graded.",
    "merges": "How models are combined.",
    "metrics": "What is measured of a model or merge, or of two models together.",
    "executors": "Where steps run.",
    "sinks": "Where what a run finds is passed on to, beside the results.",
}
"""What the kinds of components are for."""

LEVELS = {"models": "models", "tasks": "tasks", "merges": "merges", "metrics": "metrics", "trainers": "models"}
"""The sections of docs/spec.md with the keys that stand beside a component's own parameters."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages, and put them into the navigation."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    if config.nav is not None:
        config.nav = [with_pages(item) for item in config.nav]
    return files


def components(kind: str) -> list[About]:
    """What is known of the components of a kind, such as `merges`."""
    plugins = registry.plugins(f"compat.{kind}")
    return [About(one, one.component) for one in plugins if one.component and one.distribution in DISTRIBUTIONS]


def pages() -> dict[str, str]:
    """All pages, by their paths in the site."""
    found = {START: _start()}
    for kind in KINDS:
        found[f"reference/{kind}/index.md"] = _index(kind)
        for about in components(kind):
            found[f"reference/{kind}/{about.plugin.name}.md"] = "\n".join(_page(kind, about)) + "\n"
    return found


def _start() -> str:
    lines = [
        "# Reference",
        "",
        "Every component, its parameters and where it is from, as `compat plugins show` has it.",
    ]
    for kind, purpose in KINDS.items():
        names = ", ".join(f"[{about.plugin.name}]({kind}/{about.plugin.name}.md)" for about in components(kind))
        lines += ["", f"## [{kind.capitalize()}]({kind}/index.md)", "", f"{purpose} {names}"]
    return "\n".join(lines) + "\n"


def _index(kind: str) -> str:
    lines = [f"# {kind.capitalize()}", "", KINDS[kind], "", "| name | what it does |", "|---|---|"]
    lines += [
        f"| [{about.plugin.name}]({about.plugin.name}.md) | {_text(about.summary)} |" for about in components(kind)
    ]
    return "\n".join(lines) + "\n"


def _page(kind: str, about: About) -> Iterator[str]:
    plugin = about.plugin
    yield f"# {plugin.name}"
    yield f"\n{_text(about.summary)}"
    for paragraph in about.paragraphs:
        yield f"\n{_text(paragraph)}"
    yield "\n## Example\n"
    if about.example is not None:
        yield f"```yaml\n{about.example}```"
    else:
        yield f"```console\n$ compat run spec.yaml --{about.kind} {plugin.name}\n```"
    yield "\n## Parameters\n"
    if about.parameters:
        yield "| parameter | type | default | meaning |\n|---|---|---|---|"
        for one in about.parameters:
            default = "required" if one.required else f"`{one.default}`" if one.default else ""
            yield f"| `{one.name}` | {_cell(one.type)} | {default} | {_cell(_text(one.meaning))} |"
    else:
        yield "It has none."
    if kind in LEVELS:
        yield f"\nOther keys that may stand beside them: [the spec language](../../spec.md#{LEVELS[kind]})."
    yield f"\n## Where it is from\n\nA {about.kind} of {plugin.distribution} {plugin.distribution_version}, " + (
        f"version {about.component.version} of its results: `{plugin.target}`."
    )


def _text(text: str) -> str:
    """Help as Markdown: arXiv ids and addresses are links, and nothing else has a meaning."""
    pieces = re.split(r"(`[^`]*`|arXiv[: ]\d{4}\.\d{4,5}|https?://[^\s,;]*[^\s,;.:)])", text)
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: str) -> str:
    if piece.startswith("`"):
        return piece
    if piece.startswith("http"):
        return f"<{piece}>"
    if re.fullmatch(r"arXiv[: ]\d{4}\.\d{4,5}", piece):
        return f"[{piece}](https://arxiv.org/abs/{piece[6:]})"
    return re.sub(r"([\\*_\[\]<>])", r"\\\1", piece)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def with_pages(item: Any) -> Any:
    """An entry of the navigation; the one that names the reference's start gets all its pages."""
    if not isinstance(item, dict):
        return item
    ((title, target),) = item.items()
    if isinstance(target, list):
        return {title: [with_pages(inner) for inner in target]}
    if target != START:
        return item
    return {title: [START, *({kind.capitalize(): _navigation(kind)} for kind in KINDS)]}


def _navigation(kind: str) -> list[Any]:
    names = [about.plugin.name for about in components(kind)]
    return [f"reference/{kind}/index.md", *({name: f"reference/{kind}/{name}.md"} for name in names)]
