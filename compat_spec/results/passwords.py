"""Keeps passwords out of what is shown and recorded."""

from __future__ import annotations

import re


def without_password(text: str) -> str:
    """A text that is or has in it one URL of a database, with `***` for the passwords of that."""
    text = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", text)
    return re.sub(r"([?&](?:ssl)?password)=[^&]*", r"\1=***", text)
