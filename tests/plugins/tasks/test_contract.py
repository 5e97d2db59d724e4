"""What holds for every task that ships."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from compat_plugins.tasks.program_problems import ProgramProblems
from compat_plugins.tasks.word_problems import WordProblems
from compat_spec.components import Task
from compat_spec.nn.data import encode
from compat_spec.registry import component, names
from tests.builders import byte_tokenizer

OURS = ["hub_dataset", "program_problems", "python_docs", "python_source", "text", "word_problems"]


def test_all_are_registered() -> None:
    assert set(OURS) <= set(names("compat.tasks"))


@pytest.mark.parametrize("name", OURS)
def test_every_parameter_is_described(name: str) -> None:
    cls = component("compat.tasks", name)
    assert issubclass(cls, Task)
    schema = cls.model_json_schema()
    assert all(field.get("description") for field in schema["properties"].values())
    assert (cls.__doc__ or "").partition("\n")[0].endswith((".", '"'))


@pytest.mark.parametrize("name", OURS)
def test_unknown_parameters_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no_such_parameter"):
        component("compat.tasks", name).model_validate({"no_such_parameter": 1})


def test_importing_and_using_the_tasks_does_not_import_torch() -> None:
    code = (
        "import sys; from compat_spec.registry import component;"
        f"classes = [component('compat.tasks', name) for name in {OURS}];"
        "classes[1](train=5, test=5).splits();"
        "heavy = {'torch', 'transformers', 'tokenizers', 'datasets', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("cls", [WordProblems, ProgramProblems])
def test_score_decides_whether_the_question_counts(cls: type[Task]) -> None:
    tokenizer = byte_tokenizer()
    for score in ("all", "answer"):
        task = cls.model_validate({"train": 10, "test": 3, "score": score})
        examples = task.splits()["test"]
        encoded = encode(examples, tokenizer, task.score)
        ends = encoded.offsets[1:].tolist()
        for example, start, end in zip(examples, encoded.offsets.tolist(), ends, strict=False):
            counted = int(encoded.scored[start:end].sum()) - 1  # the end of text
            assert counted == len((example.answer if score == "answer" else example.text).encode())
    assert cls.model_validate({}).score == "all"
