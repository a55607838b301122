"""Code counts by what it does, not by how it is written down."""

from __future__ import annotations

import argparse
import ast
import dis
import inspect
import statistics
import subprocess
import tarfile
from types import CodeType

import pytest

from bigpipe.fingerprint import code_digest as module
from bigpipe.fingerprint.code_digest import code_digest

MODULES = (argparse, inspect, statistics, subprocess, tarfile)
names_of_modules = pytest.mark.parametrize("library", MODULES, ids=lambda each: each.__name__)

PLAIN = """
def f(data, n=2):
    total = 0
    for x in data:
        if x > 3 and x < 9:
            total += x * n
    return total
"""


def compiled(source: str) -> CodeType:
    return compile(source, "<test>", "exec", dont_inherit=True)


def digest_of(source: str) -> bytes:
    return code_digest(compiled(source)).digest


def inner_codes(code: CodeType) -> list[CodeType]:
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return inner + [each for one in inner for each in inner_codes(one)]


@names_of_modules
def test_code_written_down_in_another_way_has_the_same_digest(library):
    source = inspect.getsource(library)
    rewritten = ast.unparse(ast.parse(source))
    pairs = zip(inner_codes(compiled(source)), inner_codes(compiled(rewritten)), strict=True)
    assert [a.co_qualname for a, b in pairs if code_digest(a).digest != code_digest(b).digest] == []


@names_of_modules
def test_jumps_lead_where_python_says(library):
    for code in inner_codes(compiled(inspect.getsource(library))):
        read = module._instructions(code)
        ends = {each.next: begin for begin, each in read.items()}
        for each in dis.get_instructions(code):
            if each.opcode in module._JUMPS:
                begin = max(at for at in read if at <= each.offset)
                assert read[begin].target == each.argval
        assert ends


@pytest.mark.parametrize(
    "changed",
    [
        "# first\n\n\n" + PLAIN,
        PLAIN.replace("    total = 0", '    """Add."""\n    total = 0'),
        PLAIN.replace("data, n=2", "data: list, n: int = 2"),
        PLAIN.replace(
            "x > 3 and x < 9", "(\n            x > 3  # why\n            and x < 9\n        )"
        ),
    ],
    ids=["lines", "docstring", "annotations", "line breaks"],
)
def test_what_does_nothing_does_not_count(changed):
    codes = [inner_codes(compiled(source))[0] for source in (PLAIN, changed)]
    assert code_digest(codes[0]).digest == code_digest(codes[1]).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x > 3", "x > 4"),
        ("x > 3", "x > 3.0"),
        ("x > 3", "x >= 3"),
        ("x * n", "x + n"),
        ("x * n", "n * x"),
        ("and", "or"),
        ("data, n=2", "data, *, n=2"),
        ("data, n=2", "data, /, n=2"),
        ("return total", "yield total"),
        ("            total += x * n", "            total += x * n\n            break"),
        ("total += x * n", "total.n += x"),
    ],
)
def test_what_does_something_counts(old, new):
    assert digest_of(PLAIN) != digest_of(PLAIN.replace(old, new))


BRANCHES = {
    "if": "if a: b()",
    "if not": "if not a: b()",
    "else": "if a: pass\nelse: c()",
    "both": "if a: b()\nelse: c()",
    "swapped": "if a: c()\nelse: b()",
    "is None": "if a is None: b()",
    "is not None": "if a is not None: b()",
    "while": "while a: b()",
    "while not": "while not a: b()",
    "while and else": "while a: b()\nelse: c()",
    "continue": "while a:\n  if b(): continue\n  c()",
    "continue if not": "while a:\n  if not b(): continue\n  c()",
    "break": "while a:\n  if b(): break\n  c()",
    "break if not": "while a:\n  if not b(): break\n  c()",
    "for": "for x in a: b()",
    "for and break": "for x in a:\n  b()\n  break",
    "for and if": "for x in a:\n  if x: b()",
    "for and if not": "for x in a:\n  if not x: b()",
    "for and if None": "for x in a:\n  if x is None: b()",
    "for and if not None": "for x in a:\n  if x is not None: b()",
    "and": "a and b()",
    "or": "a or b()",
    "and or": "a and b() or c()",
    "or and": "(a or b()) and c()",
    "endless": "while True: pass",
    "endless with end": "try:\n  while True: pass\nexcept E: b()",
    "nothing": "pass",
}


def test_where_each_outcome_of_a_condition_leads_counts():
    names_of: dict[bytes, list[str]] = {}
    for name, body in BRANCHES.items():
        lines = body.replace("\n", "\n  ")
        # Names and variables are the same in all, as they would count too.
        source = f"def f(a, x):\n  b, c, d, E\n  {lines}\n  d()"
        names_of.setdefault(code_digest(inner_codes(compiled(source))[0]).digest, []).append(name)
    assert [names for names in names_of.values() if len(names) > 1] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("g(a, b)", "g(\n    a,\n    b,\n)"),
        ("a, b = g(); g(a)", "a, b = g()\ng(\na)"),
        ("a, b = b, g", "(\na,\nb,\n) = b, g"),
        ("a, b, c = b, c, a", "(\na,\nb,\nc,\n) = b, c, a"),
        ("_, a, _ = b, c, a", "(\n_,\na,\n_,\n) = b, c, a"),
        ("_, _, a = g", "(\n_,\n_,\na,\n) = g"),
        ("[x for x in a if x]", "[\nx\nfor x in a\nif x\n]"),
        ("[x for x in a if x is None if b]", "[\nx\nfor x in a\nif x is None\nif b\n]"),
        ("if not a: g()", "if a: pass\nelse: g()"),
        ("return (a and b) or g", "return (\n(\na\nand\nb\n)\nor\ng)"),
    ],
    ids=[
        "loads",
        "stores",
        "pair",
        "triple",
        "one of a triple",
        "one of three",
        "condition in a loop",
        "two conditions",
        "not",
        "and or",
    ],
)
def test_another_form_of_the_same_has_the_same_digest(one, other):
    codes = [
        inner_codes(
            compiled("def f(a, b, c=0):\n" + "".join(f"  {each}\n" for each in body.split("\n")))
        )
        for body in (one, other)
    ]
    assert code_digest(codes[0][0]).digest == code_digest(codes[1][0]).digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("g(a, b)", "g(b, a)"),
        ("a, b = g", "b, a = g"),
        ("a = g; h(b)", "b = g; h(a)"),
        ("a, b = b, a", "b, a = b, a"),
        ("a, _, _ = a, b, g", "_, a, _ = a, b, g"),
        ("(\n a,\n b) = b, a", "(\n b,\n a) = b, a"),
    ],
    ids=["loads", "stores", "store and load", "pair", "triple", "pair on lines"],
)
def test_order_of_variables_counts(one, other):
    assert digest_of(f"def f(a, b): {one}") != digest_of(f"def f(a, b): {other}")


def test_which_handler_takes_an_error_counts():
    source = "try:\n    a()\n    b()\nexcept E:\n    c()\n"
    other = "a()\ntry:\n    b()\nexcept E:\n    c()\n"
    assert digest_of(source) != digest_of(other)


def test_order_of_a_set_of_constants_does_not_count():
    code = compiled("x in {0, 8}")
    sets = frozenset([0, 8]), frozenset([8, 0])
    assert list(sets[0]) != list(sets[1])
    swapped = [
        code.replace(co_consts=tuple(each if const == each else const for const in code.co_consts))
        for each in sets
    ]
    first = code_digest(swapped[0]).digest
    code_digest.cache_clear()  # it takes both for the same
    assert code_digest(swapped[1]).digest == first
    assert digest_of("x in {0, 7}") != code_digest(code).digest


def test_code_that_has_run_often_has_the_digest_of_fresh_code():
    namespace: dict = {}
    exec(compiled(PLAIN), namespace)
    for _ in range(2000):
        namespace["f"]([1, 5, 7])
    run = namespace["f"].__code__
    fresh = inner_codes(compiled(PLAIN))[0]
    code_digest.cache_clear()
    first = code_digest(run).digest
    code_digest.cache_clear()
    assert code_digest(fresh).digest == first


def test_names_of_the_module_are_told_apart_from_attributes_and_builtins_set():
    found = code_digest(compiled("def f():\n    global c\n    c = a.b\n    return lambda: d"))
    assert found.loaded == {"a", "d"}
    assert found.stored == {"c"}


def test_equal_digests_do_not_come_from_constants_that_compare_equal():
    assert len({digest_of(f"x = {const}") for const in ("1", "1.0", "True", "(1,)", "'1'")}) == 5


def test_jump_to_what_follows_anyway_does_not_count():
    def step(name, at, target=None):
        return module._Instruction(dis.opmap[name], 0, at + 2, target)

    direct = {0: step("POP_TOP", 0), 2: step("RETURN_VALUE", 2)}
    around = {
        0: step("JUMP_FORWARD", 0, 4),
        2: step("RETURN_VALUE", 2),
        4: step("POP_TOP", 4),
        6: step("JUMP_FORWARD", 6, 2),
    }
    assert module._flow(direct, [], ()) == module._flow(around, [], ())
