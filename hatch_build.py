"""Puts the pages of the documentation into the wheel, for `compat help`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    """Called by the build backend for each wheel. An editable install reads the pages where they are."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            for page in Path(self.root, "docs").glob("*.md"):
                build_data["force_include"][str(page)] = f"compat_spec/docs/{page.name}"
