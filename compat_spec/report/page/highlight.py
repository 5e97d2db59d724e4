"""The spec as HTML, with its keys, words and comments told apart."""

from __future__ import annotations

from html import escape


def highlighted(text: str) -> str:
    """YAML as escaped HTML, with spans of Pygments' classes."""
    try:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import YamlLexer
    except ImportError:
        return escape(text)
    return str(highlight(text, YamlLexer(), HtmlFormatter(nowrap=True)))
