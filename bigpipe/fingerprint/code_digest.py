"""A digest of what a code object does, independent of the layout of its source.

Owns the reading of bytecode. `bigpipe.fingerprint.content` decides which functions count, and which
of their values besides the code.

The code object is read, not the source: the file may have been edited since it was imported, and a
notebook has no file. Instructions do not depend on file, line numbers, comments or docstrings. But
they do depend on line breaks:

- The compiler keeps a ``NOP``, or a jump to a jump, where it would otherwise lose a line.
- It merges two instructions, and drops swaps and stores, only within one line.
- It inverts a condition to avoid a jump.

So the digest takes the instructions in the order in which they can be reached, without those that
do nothing, with merged ones split, and with stores and conditions in one form.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from types import CodeType
from typing import Any

__all__ = ["DIGEST_BYTES", "CodeDigest", "atom", "code_digest"]

DIGEST_BYTES = 16  # enough to rule out that two contents collide by chance
MAX_CACHED = 4096  # code objects whose digests are kept; arbitrary

_OPS = dis.opmap
_SILENT = {
    _OPS[name] for name in ("NOP", "RESUME", "CACHE", "EXTENDED_ARG", "NOT_TAKEN") if name in _OPS
}
_NOP = _OPS["NOP"]
_CACHE = _OPS.get("CACHE")
_EXTENDED = _OPS["EXTENDED_ARG"]
_GOTO = _OPS["JUMP_FORWARD"]
_GOTOS = {_OPS[name] for name in ("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT")}
_BACKWARD = {op for name, op in _OPS.items() if "BACKWARD" in name}
_JUMPS = {*dis.hasjrel, *dis.hasjabs}
_CONSTS = set(dis.hasconst)
_LAST = {
    _OPS[name]
    for name in (
        *("RETURN_VALUE", "RAISE_VARARGS", "RERAISE", "INTERPRETER_EXIT"),
        *("JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"),
    )
    if name in _OPS
}
_LOAD_GLOBAL = _OPS["LOAD_GLOBAL"]  # its lowest bit says something else
_LOADS = {_OPS[name] for name in ("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS") if name in _OPS}
_STORES = {_OPS[name] for name in ("STORE_GLOBAL", "DELETE_GLOBAL")}
_STORE_NAME = _OPS["STORE_NAME"]
# What the body of a class notes from Python 3.13 on: its line, and attributes in random order.
_NOTES = ("__firstlineno__", "__static_attributes__")
# Two instructions in one, each with half of the argument.
_PAIRS = {
    _OPS[f"{first}_{second}"]: (_OPS[first], _OPS[second])
    for first, second in (
        ("LOAD_FAST", "LOAD_FAST"),
        ("STORE_FAST", "LOAD_FAST"),
        ("STORE_FAST", "STORE_FAST"),
        ("LOAD_FAST_BORROW", "LOAD_FAST_BORROW"),
    )
    if f"{first}_{second}" in _OPS
}
_SWAP, _STORE, _POP = _OPS["SWAP"], _OPS["STORE_FAST"], _OPS["POP_TOP"]
_LOAD_CONST = _OPS["LOAD_CONST"]
_RETURN = _OPS["RETURN_VALUE"]
_RETURN_CONST = _OPS.get("RETURN_CONST")
# For each conditional jump, the one forward if true or if ``None``, and whether it asks the same.
_BRANCHES = {
    op: (_OPS[name.replace("BACKWARD", "FORWARD").replace(no, yes)], no not in name)
    for yes, no in (("TRUE", "FALSE"), ("NONE", "NOT_NONE"))
    for name, op in _OPS.items()
    if name.startswith("POP_JUMP_") and name.endswith((f"IF_{yes}", f"IF_{no}"))
}
# Keeping the value and popping it: where one such jump leads to another, the compiler makes one
# of them, or not, by the lines that they are in.
_OR_POP = {op for name, op in _OPS.items() if name.endswith("_OR_POP")}
_TRUTH = {
    op: "_IF_TRUE" in dis.opname[op]
    for op in (*_BRANCHES, *_OR_POP)
    if "NONE" not in dis.opname[op]
}
_POP_IF = {truth: op for op, truth in _TRUTH.items() if op not in _OR_POP | _BACKWARD}
_FLAGS = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)


@dataclass(frozen=True)
class CodeDigest:
    """The digest of a code object, including the code objects in it, and the names they use."""

    digest: bytes
    """Digest of what it does."""
    loaded: frozenset[str]
    """Names that it looks up in its module."""
    stored: frozenset[str]
    """Names that it sets in its module, which are state, not constants."""


@dataclass(slots=True)
class _Instruction:
    op: int
    arg: int
    next: int  # offset of what follows
    target: int | None = None  # offset of where it jumps to


@lru_cache(maxsize=MAX_CACHED)
def code_digest(code: CodeType) -> CodeDigest:
    r"""Return the digest of a code object, and the names in its module that it uses.

    Notes
    -----
    Different versions of Python compile to different code. Within one version, these count:
    instructions, constants, the names of arguments, variables and attributes, and their order.

    Examples
    --------
    >>> first = compile("x = max(a, 1)  # more", "first.py", "exec")
    >>> second = compile("x = max(\n    a,\n    1,\n)", "second.py", "exec")
    >>> code_digest(first).digest == code_digest(second).digest
    True
    >>> sorted(code_digest(first).loaded)
    ['a', 'max']
    """
    instructions = _instructions(code)
    inner = [code_digest(const) for const in code.co_consts if isinstance(const, CodeType)]
    loaded = set().union(*(each.loaded for each in inner))
    stored = set().union(*(each.stored for each in inner))
    for each in instructions.values():
        if each.op == _LOAD_GLOBAL:
            loaded.add(code.co_names[each.arg >> 1])
        elif each.op in _LOADS:
            loaded.add(code.co_names[each.arg])
        elif each.op in _STORES:
            stored.add(code.co_names[each.arg])
    flow = _flow(instructions, _handlers(code), code.co_consts)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    names = (code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars)
    head = repr((counts, code.co_flags & _FLAGS, names)).encode("utf-8", "surrogatepass")
    digest = blake2b(head + b"".join(flow), digest_size=DIGEST_BYTES).digest()
    return CodeDigest(digest, frozenset(loaded), frozenset(stored))


def _instructions(code: CodeType) -> dict[int, _Instruction]:
    """Return the instructions by their offsets, each jump with the offset that it leads to."""
    found: dict[int, _Instruction] = {}
    raw = code.co_code
    arg = 0
    begin: int | None = None  # of the extended arguments that belong to the instruction
    last: _Instruction | None = None
    for offset in range(0, len(raw), 2):
        op = raw[offset]
        if op == _CACHE:
            if last is not None:
                last.next = offset + 2
            continue
        arg = arg << 8 | raw[offset + 1]
        begin = offset if begin is None else begin
        if op == _EXTENDED:
            continue
        before, last = last, _Instruction(op, arg, offset + 2)
        found[begin] = last
        if op == _STORE_NAME and before is not None and code.co_names[arg] in _NOTES:
            before.op = last.op = _NOP
        arg, begin = 0, None
    for each in found.values():
        if each.op in _JUMPS:
            each.target = each.next + 2 * (-each.arg if each.op in _BACKWARD else each.arg)
    _take_apart(found)
    _store_as_in_one_line(found)
    return found


def _take_apart(found: dict[int, _Instruction]) -> None:
    """Split each instruction that does the work of two; the odd offsets are free."""
    for at, each in list(found.items()):
        if each.op in _PAIRS:
            first, second = _PAIRS[each.op]
            args = each.arg >> 4, each.arg & 15
        elif each.op == _RETURN_CONST:
            first, second = _LOAD_CONST, _RETURN
            args = each.arg, 0
        else:
            continue
        found[at] = _Instruction(first, args[0], at + 1)
        found[at + 1] = _Instruction(second, args[1], each.next)


def _store_as_in_one_line(found: dict[int, _Instruction]) -> None:
    """Exchange two stores rather than their values, and drop what is replaced at once."""
    targets = {each.target for each in found.values()}
    places = [at for at in sorted(found) if found[at].op not in _SILENT]
    for i in reversed(range(len(places))):
        swap = found[places[i]]
        ends = places[i + 1 : i + 1 + swap.arg]
        if swap.op != _SWAP or len(ends) < swap.arg:
            continue
        takers = [found[at] for at in ends]
        stored = [each.arg for each in takers if each.op == _STORE]
        if (
            all(each.op in (_STORE, _POP) for each in takers)
            and len(set(stored)) == len(stored)
            and targets.isdisjoint(range(places[i] + 1, ends[-1] + 1))
        ):
            first, last = takers[0], takers[-1]
            first.op, first.arg, last.op, last.arg = last.op, last.arg, first.op, first.arg
            swap.op = _NOP
            del places[i]
    for at, after in pairwise(places):
        store, again = found[at], found[after]
        if (
            store.op == again.op == _STORE
            and store.arg == again.arg
            and targets.isdisjoint(range(at + 1, after + 1))
        ):
            store.op, store.arg = _POP, 0


def _handlers(code: CodeType) -> list[tuple[int, int, int, int]]:
    """Return the exception table: first and last offset, offset of the handler, what it pops."""
    numbers = _varints(code.co_exceptiontable)
    found = []
    for start in numbers:
        length, target, rest = next(numbers), next(numbers), next(numbers)
        found.append((2 * start, 2 * (start + length), 2 * target, rest))
    return found


def _varints(raw: bytes) -> Iterator[int]:
    """Read numbers in base 64, highest digit first; bit 6 says that another digit follows."""
    number = 0
    for byte in raw:
        number = number << 6 | byte & 63
        if not byte & 64:
            yield number
            number = 0


def _flow(
    instructions: dict[int, _Instruction],
    handlers: list[tuple[int, int, int, int]],
    consts: tuple[object, ...],
) -> list[bytes]:
    """Return the instructions in the order in which they can be reached, each as bytes."""
    handler_of: dict[int, tuple[int, int]] = {}
    for start, end, landing, rest in handlers:
        for offset in range(start, end):
            handler_of[offset] = (landing, rest)
    number_of: dict[int, int] = {}
    lines: list[tuple[int, int | None, bytes, tuple[int, int] | None]] = []
    waiting = [0]
    while waiting:
        at = _settled(instructions, waiting.pop())
        if at in number_of:
            continue
        while at not in number_of:
            each = instructions[at]
            number_of[at] = len(lines)
            op, then, target = _exits(instructions, each)
            handler = handler_of.get(at)
            waiting += [offset for offset in (handler[0] if handler else None, target) if offset]
            arg = b"" if target is not None else b"%d" % each.arg
            if op in _CONSTS:
                arg = _constant(consts[each.arg])
            lines.append((op, target, arg, handler))
            if each.op in _LAST:
                break
            at = _settled(instructions, then)
        else:
            lines.append((_GOTO, at, b"", None))
    places = {target for _, target, _, _ in lines if target is not None}
    places.update(landing for _, _, landing, _ in handlers)
    settled = {place: number_of.get(_settled(instructions, place), -1) for place in places}
    return [
        b"%d %d %b %b;"
        % (
            op,
            -1 if target is None else settled[target],
            b"" if handler is None else b"%d:%d" % (settled[handler[0]], handler[1]),
            arg,
        )
        for op, target, arg, handler in lines
    ]


def _settled(instructions: dict[int, _Instruction], at: int) -> int:
    """Return the offset of the first instruction from here on that does something.

    In an endless loop that does nothing, this is the last instruction: the jump back.
    """
    passed: list[int] = []
    while (each := instructions[at]).op in _SILENT or each.op in _GOTOS:
        if at in passed:
            return max(passed[passed.index(at) :])
        passed.append(at)
        at = each.next if each.target is None else each.target
    return at


def _exits(
    instructions: dict[int, _Instruction], each: _Instruction
) -> tuple[int, int, int | None]:
    """Return the normalised operation, the offset that follows, and the one it jumps to."""
    op, target = each.op, each.target
    while target is not None and op in _OR_POP:
        then = instructions[_settled(instructions, target)]
        if then.op not in _TRUTH:
            break
        truth = _TRUTH[op]
        kept = then.op in _OR_POP and _TRUTH[then.op] == truth
        target = then.target if _TRUTH[then.op] == truth else then.next
        op = op if kept else _POP_IF[truth]
    if target is None or op not in _BRANCHES:
        return op, each.next, target
    op, jumps = _BRANCHES[op]
    return (op, each.next, target) if jumps else (op, target, each.next)


def _constant(const: object) -> bytes:
    """Return a constant of a code object as bytes, type included."""
    if isinstance(const, CodeType):
        return b"code" + code_digest(const).digest
    if isinstance(const, tuple):
        return b"(%b)" % b"".join(map(_constant, const))
    if isinstance(const, frozenset):
        return b"{%b}" % b"".join(sorted(map(_constant, const)))
    return atom(const) or b"..."


def atom(value: object) -> bytes | None:
    r"""Return a plain value as self-delimiting bytes that include its type, or ``None``.

    Examples
    --------
    >>> atom(1), atom(True), atom("é")
    (b'int1:1;', b'bool1:1;', b'str2:\xc3\xa9;')
    """
    kind = type(value)
    encode = _ATOMS.get(kind)
    if encode is None:
        return None
    raw = encode(value)
    return b"%b%d:%b;" % (kind.__name__.encode(), len(raw), raw)


def _float(value: float) -> bytes:
    return value.hex().encode()  # any NaN is 'nan'


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


_ATOMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"",
    bool: lambda value: b"1" if value else b"0",
    int: lambda value: b"%x" % value,
    float: _float,
    complex: lambda value: _float(value.real) + b"," + _float(value.imag),
    str: _text,
    bytes: lambda value: value,
    type(...): lambda value: b"",
    type(NotImplemented): lambda value: b"",
}
