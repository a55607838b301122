"""The forms of TARGET."""

from __future__ import annotations

import pytest

from bigpipe import FunctionPipe
from bigpipe.cli.target import pipeline_of
from bigpipe.errors import OptionError


def test_class_is_made_of_the_keywords_that_it_names(folder):
    keywords = {"night": 3, "scale": 2, "limit": 1}
    pipe = pipeline_of("code/reduction.py:Demanding", keywords)
    assert pipe.night == 3
    assert keywords == {"scale": 2, "limit": 1}


def test_function_becomes_a_pipeline(folder):
    pipe = pipeline_of("code/reduction.py:double", {})
    assert type(pipe) is FunctionPipe
    assert pipe.process(3) == 6


def test_object_is_itself_also_without_its_name(folder):
    pipe = pipeline_of("code/reduction.py:pipe", {})
    assert pipeline_of("code/reduction.py", {}) is pipe


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1", "no pipeline and no function in it.py"),
        ("def f(data): return data", "no pipeline in it.py; to run a function, write it.py:f$"),
        ("def f(data): ...\ndef g(data): ...", "function, write it.py:f or it.py:g$"),
        ("\n".join(f"def f{i}(data): ..." for i in range(9)), "function, write it.py:NAME$"),
        (
            "import bigpipe\nclass A(bigpipe.BigMultiPipe): pass\nclass B(A): pass",
            "2 pipelines in it.py: write it.py:A or it.py:B",
        ),
    ],
    ids=["nothing", "a function", "two functions", "many functions", "two classes"],
)
def test_script_alone_must_have_one_pipeline(code, message, folder):
    (folder / "it.py").write_text(code)
    with pytest.raises(OptionError, match=message):
        pipeline_of("it.py", {})


def test_input_in_place_of_the_target_is_refused_and_not_run(folder):
    (folder / "frame.txt").write_text("raise SystemExit('this is run')")
    with pytest.raises(OptionError, match="not a Python script: name the pipeline before the in"):
        pipeline_of("frame.txt", {})


def test_script_alone_may_have_one_class(folder):
    (folder / "alone.py").write_text(
        "from bigpipe import BigMultiPipe\nclass A(BigMultiPipe): pass"
    )
    assert type(pipeline_of("alone.py", {})).__name__ == "A"
