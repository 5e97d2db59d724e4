"""Keeps passwords out of what is shown and recorded."""

from __future__ import annotations

import re

PASSWORD = re.compile(
    r"(://[^:/@\s]*):"  # a scheme, a user or none
    r"(?!\d+(?:[/?#][^@\s]*)?(?:\s|$))"  # not the port of a server
    r"[^@]*@(?:[^\s@/]*@)*"  # all to the last @ of the server's part
)


def without_password(text: str) -> str:
    """A text that is or has in it URLs of databases or servers, with `***` for the passwords of those."""
    text = PASSWORD.sub(r"\1:***@", text)
    return re.sub(r"([?&](?:ssl)?password)=[^&]*", r"\1=***", text)
