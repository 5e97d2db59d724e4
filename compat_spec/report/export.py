"""Single charts as files: vector graphics and images for papers, a page, or their Vega-Lite specification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compat_spec.report.errors import MissingExtra

if TYPE_CHECKING:
    from compat_spec.report.figures.figure import Figure

FORMATS = ("svg", "png", "pdf", "html", "json")
"""By the ending of the file."""


def export(figure: Figure, format: str, *, scale: float = 2.0, titled: bool = True) -> bytes:
    """The chart as the content of a file.

    Args:
        format: one of `FORMATS`.
        scale: pixels of an image for each pixel of the chart.
        titled: with its title and caption; papers often have their own.

    Raises:
        MissingExtra: without vl-convert.
    """
    spec = figure.vega_lite(titled=titled)
    if not titled:
        from compat_spec.report.figures import theme

        spec["config"] = theme.PAPER
    if format == "json":
        return (json.dumps(spec, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    try:
        import vl_convert
    except ImportError:
        raise MissingExtra("vl-convert") from None
    convert: Any = getattr(vl_convert, f"vegalite_to_{format}")
    if format == "html":
        return str(convert(spec, bundle=True)).encode()
    if format == "png":
        return bytes(convert(spec, scale=scale))
    content = convert(spec)
    return content.encode() if isinstance(content, str) else bytes(content)


def write(figure: Figure, path: Path, **how: Any) -> None:
    """Write it to a file, in the format that the file's ending says."""
    path.write_bytes(export(figure, path.suffix[1:].lower(), **how))
