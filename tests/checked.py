"""Turn a page of documentation into a script that runs its code and checks its examples."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from typing import Any

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PRELUDE = "from tests.checked import check as _check; "
# A Python block that is only to be looked at says so to the reader of the source; `testsetup`
# is code that a page needs and does not show.
BLOCK = re.compile(
    r"^(?P<indent> *)\.\. (?:(?:code-block|code):: python|testsetup::)\n"
    r"(?P<options>(?:(?P=indent) +:.*\n)*)"
    r"(?P<code>(?:\n|(?P=indent) +.*\n)*)",
    re.MULTILINE,
)
NOT_RUN = ":class: not-run"


def script_of(page: str) -> str:
    """Return a script with the page's code, each line where it is in the page.

    Blocks of Python are run as they are. A ``>>>`` example, in a block or outside, becomes a
    call that runs it and compares what it prints.
    """
    page = page + "\n"
    lines = [""] * (page.count("\n") + 1)
    for match in BLOCK.finditer(page):
        if NOT_RUN not in match["options"] and ">>>" not in match["code"]:
            first = page.count("\n", 0, match.start("code"))
            for number, line in _dedented(match["code"]):
                lines[first + number] = line
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
