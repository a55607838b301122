"""Turn a page of documentation into a script that runs its code and checks its examples."""

from __future__ import annotations

import ast
import doctest
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PRELUDE = "from tests.checked import check as _check, include as _include; "
# A Python block that is only to be looked at says so to the reader of the source; `testsetup`
# is code that a page needs and does not show.
BLOCK = re.compile(
    r"^(?P<indent> *)\.\. (?:(?:code-block|code):: python|testsetup::)\n"
    r"(?P<options>(?:(?P=indent) +:.*\n)*)"
    r"(?P<code>(?:\n|(?P=indent) +.*\n)*)",
    re.MULTILINE,
)
NOT_RUN = ":class: not-run"
# Code that a page shows of a script: an object of it, or the lines from one text to another.
INCLUDE = re.compile(
    r"^\.\. literalinclude:: (?P<name>\S+\.py)\n(?P<options>(?: +:.*\n)*)", re.MULTILINE
)


def script_of(page: str) -> str:
    """Return a script with the page's code, each line where it is in the page.

    Blocks of Python are run as they are, and so is what `literalinclude` shows. A ``>>>``
    example, in a block or outside, becomes a call that runs it and compares what it prints.
    """
    page = page + "\n"
    lines = [""] * (page.count("\n") + 1)
    for match in BLOCK.finditer(page):
        if NOT_RUN not in match["options"] and ">>>" not in match["code"]:
            first = page.count("\n", 0, match.start("code"))
            for number, line in _dedented(match["code"]):
                lines[first + number] = line
    for match in INCLUDE.finditer(page):
        options = dict(re.findall(r":([\w-]+): *(.*)", match["options"]))
        lines[page.count("\n", 0, match.start())] = f"_include({match['name']!r}, {options!r})"
    for example in doctest.DocTestParser().get_examples(page):
        arguments = (example.source, example.want, example.exc_msg, example.lineno)
        lines[example.lineno] = f"_check{arguments!r}"
    lines[0] = PRELUDE + lines[0]
    return "\n".join(lines)


def _dedented(code: str) -> Iterator[tuple[int, str]]:
    lines = code.split("\n")
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    for number, line in enumerate(lines):
        yield number, line[indent:]


def included(name: str, options: dict[str, str]) -> str:
    """Return the code that a `literalinclude` shows, each line where it is in its file."""
    text = (DOCS / name).read_text("utf-8")
    lines = text.splitlines()
    first, stop = 0, len(lines)
    if "pyobject" in options:
        (found,) = (
            node
            for node in ast.parse(text).body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and node.name == options["pyobject"]
        )
        first, stop = found.lineno - 1, found.end_lineno or stop
    if "start-at" in options:
        first = next(i for i, line in enumerate(lines) if options["start-at"] in line)
    if "end-at" in options:
        stop = next(i + 1 for i in range(first, stop) if options["end-at"] in lines[i])
    if "end-before" in options:
        stop = next(i for i in range(first + 1, stop) if options["end-before"] in lines[i])
    unknown = options.keys() - {"pyobject", "start-at", "end-at", "end-before", "dedent"}
    assert not unknown, f"{name}: {unknown} cannot be run"
    return "\n" * first + textwrap.dedent("\n".join(lines[first:stop])) + "\n"


def include(name: str, options: dict[str, str]) -> None:
    """Run what a `literalinclude` shows in the script's own namespace."""
    import __main__

    code = included(name, options)
    exec(compile(code, DOCS / name, "exec"), vars(__main__))


def check(source: str, want: str, exc_msg: str | None, lineno: int) -> None:
    """Run one example in the script's own namespace; raise if it prints something else."""
    import __main__

    example = doctest.Example(source, want, exc_msg, lineno=lineno)
    test = doctest.DocTest([example], {}, "page", __main__.__file__, 0, None)
    test.globs = vars(__main__)  # not a copy: what an example assigns, the next one uses
    report = run(test)
    if report:
        raise AssertionError(report)


def run(test: doctest.DocTest) -> str:
    """Run examples; return what doctest says of those that fail."""
    report: list[Any] = []
    doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(
        test, out=report.append, clear_globs=False
    )
    return "".join(report)
