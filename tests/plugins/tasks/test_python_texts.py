"""Python's own code and documentation: whole functions, split by file, portions apart."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from compat_plugins.tasks import standard_library
from compat_plugins.tasks.python_docs import PythonDocs
from compat_plugins.tasks.python_source import PythonSource
from compat_spec.components import Example
from compat_spec.errors import CompatError


@pytest.fixture
def made_up_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A standard library that a test writes, instead of the installed one."""
    monkeypatch.setattr(standard_library, "library_folder", lambda: tmp_path)
    caches = [standard_library.source_files, standard_library.library_identity]
    for cached in caches:
        cached.cache_clear()
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


def texts(examples: Sequence[Example]) -> set[str]:
    return {example.text for example in examples}


def is_generated(text: str) -> bool:
    """A generated function has nothing but assignments of arithmetic and a return of the last name."""
    function = ast.parse(text).body[0]
    assert isinstance(function, ast.FunctionDef)
    *assignments, last = function.body
    return (
        all(isinstance(s, ast.Assign) and isinstance(s.value, ast.BinOp | ast.Constant) for s in assignments)
        and isinstance(last, ast.Return)
        and isinstance(last.value, ast.Name)
        and function.name.partition("_")[2] == last.value.id
    )


def test_functions_are_whole_and_without_docstrings() -> None:
    splits = PythonSource().splits()
    assert sum(len(e.text) for e in splits["train"]) > 1_000_000
    for example in [*splits["train"], *splits["test"]]:
        assert example.prompt == ""
        assert example.text.isascii()
        assert len(example.text) <= 901
        (function,) = ast.parse(example.text).body
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        assert ast.get_docstring(function) is None


def test_functions_of_a_file_are_all_to_train_or_all_to_test_on() -> None:
    splits = {split: texts(examples) for split, examples in PythonSource(generated=0).splits().items()}
    assert not splits["train"] & splits["test"]
    seen: set[str] = set()
    sides = []
    for file in standard_library.source_files():
        own = {text + "\n" for text in file.functions if 80 <= len(text) <= 900 and text.isascii()} - seen
        seen |= own
        sides.append([split for split, found in splits.items() if own & found])
        assert len(sides[-1]) == bool(own)
        assert own <= splits["train"] | splits["test"]
    assert sum(side == ["test"] for side in sides) > 10
    assert sum(side == ["train"] for side in sides) > 100


def test_portions_do_not_overlap_and_share_the_test() -> None:
    whole = PythonSource().splits()
    first, rest = (PythonSource(portion=portion).splits() for portion in ([0, 0.25], [0.25, 1]))
    assert not texts(first["train"]) & texts(rest["train"])
    assert texts(first["test"]) == texts(rest["test"]) == texts(whole["test"])
    library = texts(PythonSource(generated=0).splits()["train"])
    assert (texts(first["train"]) | texts(rest["train"])) & library == library
    assert 0.1 < len(first["train"]) / len(whole["train"]) < 0.4


def test_the_share_of_generated_functions_is_as_asked() -> None:
    library = {split: texts(examples) for split, examples in PythonSource(generated=0).splits().items()}
    for share in (0.375, 0.75):
        for split, examples in PythonSource(generated=share).splits().items():
            generated = [e.text for e in examples if e.text not in library[split]]
            assert len(generated) / len(examples) == pytest.approx(share, abs=0.001)
            assert len(set(generated)) == len(generated)
            assert all(map(is_generated, generated[:200]))
            assert any(map(is_generated, [e.text for e in examples[:20]]))  # mixed, not at the end


def test_generated_functions_stay_in_their_split_across_seeds() -> None:
    library = texts(PythonSource(generated=0).splits()["train"])
    one, other = (PythonSource(seed=seed, portion=(0, 0.2)).splits() for seed in (0, 1))
    assert texts(one["train"]) & texts(other["train"]) >= texts(one["train"]) & library
    assert texts(one["train"]) - library != texts(other["train"]) - library
    assert not texts(one["train"]) & texts(other["test"])
    assert PythonSource(portion=(0, 0.2)).splits() == one


@pytest.mark.parametrize("portion", [(0.5, 0.5), (0.6, 0.5), (-0.1, 1), (0, 1.1), (float("nan"), 1), (0,)])
def test_a_portion_is_a_rising_range(portion: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        PythonSource(portion=portion)


def test_docs_are_chunks_of_docstrings_and_topics_split_by_where_they_are_from() -> None:
    splits = PythonDocs().splits()
    assert sum(len(e.text) for e in splits["train"]) > 1_000_000
    assert not texts(splits["train"]) & texts(splits["test"])
    together = [e.text for examples in splits.values() for e in examples]
    assert len(set(together)) == len(together)
    assert all(60 <= len(text) <= 2_500 for text in together)
    assert any(text.startswith('The "try" statement') for text in together)
    (textwrap,) = (file for file in standard_library.source_files() if file.path == "textwrap.py")
    assert {text for text in textwrap.docstrings if 60 <= len(text) < 2_500} <= {text.strip() for text in together}


def test_docs_as_short_as_asked_say_the_same() -> None:
    def words(longest: int) -> int:
        return sum(len(e.text.split()) for examples in PythonDocs(longest=longest).splits().values() for e in examples)

    assert words(1_000) == pytest.approx(words(100_000), rel=0.05)
    assert max(len(e.text) for e in PythonDocs(longest=500).splits()["train"]) <= 500


def test_the_identity_says_which_library_it_is(made_up_library: Path) -> None:
    (made_up_library / "a.py").write_text("def f(): pass\n")
    first = PythonSource().identity()
    assert first["python"] == ".".join(map(str, sys.version_info[:3]))
    standard_library.library_identity.cache_clear()
    (made_up_library / "b.py").write_text("")
    assert PythonSource().identity() != first


def test_what_is_no_code_of_the_library_is_left_out(made_up_library: Path) -> None:
    body = "\n".join(f"    a{i} = {i}" for i in range(10))
    for name in ("kept", "site-packages", "test", "lib2to3", "__pycache__"):
        (made_up_library / name).mkdir()
        (made_up_library / name / "module.py").write_text(f"def {name[0]}():\n{body}\n")
    (made_up_library / "broken.py").write_text("def (:\n")
    (made_up_library / "latin.py").write_bytes(b"# \xe4\n")
    (made_up_library / "null.py").write_bytes(b"a = 1\0\n")
    (made_up_library / "notes.txt").write_text("def f(): pass\n")
    (file,) = standard_library.source_files()
    assert file.path == "kept/module.py"
    assert file.functions == (f"def k():\n{body}",)


SOURCE = '''"""Module."""
import os
\f
class A:
    """Class."""

    @property
    def a(self):
        """Method.

        More.
        """
        x = """
        and more"""

        def inner():
            """Inner."""
        return x

    def only_docstring(self):
        """Only this."""

    def odd(self):
        return """
left"""

if os:
    async def b():
        # a comment
        return 1
'''


def test_docstrings_go_and_the_rest_of_a_function_stays(made_up_library: Path) -> None:
    (made_up_library / "module.py").write_text(SOURCE)
    (file,) = standard_library.source_files()
    assert set(file.docstrings) == {"Module.", "Class.", "Method.\n\nMore.", "Only this."}
    assert len(file.functions) == 2
    assert file.functions[1] == "async def b():\n    # a comment\n    return 1"
    for text in file.functions:
        ast.parse(text)
        assert "Method." not in text
    assert file.functions[0].startswith('def a(self):\n    x = """\n')


def test_a_python_without_sources_is_a_clear_error(made_up_library: Path) -> None:
    for task in (PythonSource(), PythonDocs()):
        with pytest.raises(CompatError, match="no source files of the standard library in"):
            task.splits()


def test_too_few_files_for_a_split_are_a_clear_error(made_up_library: Path) -> None:
    (made_up_library / "module.py").write_text("def f():\n" + "    a = 1\n" * 20)
    with pytest.raises(CompatError, match="too few source files"):
        PythonSource().splits()


def test_reading_the_library_imports_none_of_it() -> None:
    code = (
        "import sys; from compat_plugins.tasks.python_docs import PythonDocs; before = set(sys.modules);"
        "PythonDocs().splits(); new = set(sys.modules) - before;"
        "assert new <= {'pydoc_data', 'pydoc_data.topics'} | {m for m in new if m.startswith('encodings')}, new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
