"""`compat import`: the spec on the output, or every reason why there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMPAT = Path(sys.executable).with_name("compat")

CONFIG = """
merge_method: slerp
base_model: a/one
models: [{model: a/one}, {model: b/two}]
parameters: {t: 0.5}
"""


def compat(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(COMPAT), *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_what_it_prints_is_a_spec(tmp_path: Path) -> None:
    (tmp_path / "my merge.yml").write_text(CONFIG, "utf-8")
    done = compat(tmp_path, "import", "mergekit", "my merge.yml")
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "spec.yaml").write_text(done.stdout, "utf-8")
    assert "name: my-merge\n" in done.stdout
    checked = compat(tmp_path, "validate", "spec.yaml")
    assert checked.stdout == "spec.yaml: ok: 0 tasks, 2 models, 1 merge, 0 metrics, 1 seed\n"


def test_what_it_cannot_say_goes_to_stderr_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "merge.yml").write_text(CONFIG.replace("b/two", "b/two+c/lora").replace("0.5", "big"), "utf-8")
    done = compat(tmp_path, "import", "mergekit", "merge.yml")
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("merge.yml:4:34: models.1.model: the adapter c/lora is no folder beside this file; ")
    assert second == "merge.yml:5:17: parameters.t: 'big' does not fit; expected a number"


def test_an_unknown_tool_and_a_missing_file(tmp_path: Path) -> None:
    done = compat(tmp_path, "import", "mergekti", "merge.yml")
    assert (done.returncode, done.stderr) == (2, "compat: no importer plugin 'mergekti'; did you mean 'mergekit'?\n")
    done = compat(tmp_path, "import", "mergekit", "merge.yml")
    assert (done.returncode, done.stderr) == (2, "merge.yml: there is no such file\n")
