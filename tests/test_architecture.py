"""Files show the architecture: what may import what, and how the package is declared."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import bigpipe
from tests.programs import run_python

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bigpipe"
MAX_LINES = 450

# Imports point down this list, or stay in one row; never up. A folder is one entry.
ROWS = (
    ("errors", "records"),
    (
        *("budget", "chunks", "columns", "durations", "encoding", "near_names"),
        *("option_checks", "options", "outname", "plurals", "scheduler", "scheduling", "slices"),
    ),
    (
        *("claims", "clock", "context", "environment", "file_states", "fingerprint", "formats"),
        *("input_files", "interrupts", "journal_store", "log", "log_payload", "measure", "moving"),
        *("outputs", "prints", "progress", "sharing", "staging", "system", "tree_meter"),
    ),
    ("executors",),
    ("epoch_run", "preview", "run", "running"),
    (
        *("fed_pipe", "feeding", "function_pipe", "hooks", "journal", "origin", "passage"),
        *("pipeline", "pout", "pout_table", "report", "steps"),
    ),
    ("streaming",),
    ("__main__", "argparse_handler", "cli", "demo", "fits", "flags", "references", "testing"),
    ("__init__",),
)
ROW_OF = {entry: row for row, entries in enumerate(ROWS) for entry in entries}
PURE = (
    *("budget", "chunks", "columns", "durations", "outname", "plurals", "scheduler"),
    *("scheduling", "slices"),
)
IMPURE = {
    *("asyncio", "ctypes", "datetime", "io", "logging", "mmap", "multiprocessing", "pathlib"),
    *("psutil", "queue", "random", "select", "selectors", "shutil", "signal", "socket"),
    *("subprocess", "tempfile", "threading", "time"),
}
HEAVY = ("astropy", "cloudpickle", "multiprocessing", "numpy", "psutil", "tqdm")


@dataclass(frozen=True)
class Import:
    """One module, or name of a module, that a file imports."""

    module: str
    line: int
    at_module_level: bool  # runs when the file is imported

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def file_id(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def entry_of(path: Path) -> str:
    """Return the entry of `ROWS` that a file of the package belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


@cache
def imports(path: Path) -> list[Import]:
    return list(_imports(ast.parse(path.read_text("utf-8"), str(path)), True))


def importers(is_breach: Callable[[Path, Import], bool]) -> list[str]:
    """Return the places of the imports that must not be."""
    return [
        f"{file_id(path)}:{each.line}: {each.module}"
        for path in files()
        for each in imports(path)
        if is_breach(path, each)
    ]


def _imports(node: ast.AST, at_module_level: bool) -> Iterator[Import]:
    """Find the imports below a node, those in functions and under ``TYPE_CHECKING`` too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_module_level)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are written in full"
            for alias in child.names:
                yield Import(f"{child.module}.{alias.name}", child.lineno, at_module_level)
        else:
            yield from _imports(child, at_module_level and not _runs_later(child))


def _runs_later(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def imported_entry(module: str) -> str:
    """Return the entry of `ROWS` that an import of bigpipe reaches.

    ``from bigpipe import Name`` reaches the file that the public name comes from, as
    ``__init__`` only hands it on.
    """
    name = module.split(".")[1] if "." in module else "__init__"
    if name in ROW_OF or (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir():
        return name
    return public_names().get(name, "__init__")


def public_names() -> dict[str, str]:
    """Map each name that ``__init__`` hands on to the entry it comes from."""
    handed_on = [each.module.split(".") for each in imports(PACKAGE / "__init__.py")]
    return {parts[-1]: parts[1] for parts in handed_on if parts[0] == "bigpipe"}


def test_every_file_belongs_to_a_row() -> None:
    homeless = [file_id(path) for path in files() if entry_of(path) not in ROW_OF]
    assert not homeless, "add them to ROWS, after discussing the row"


def test_imports_point_down() -> None:
    def points_up(path: Path, each: Import) -> bool:
        row = ROW_OF.get(entry_of(path), -1)
        return each.top == "bigpipe" and ROW_OF.get(imported_entry(each.module), len(ROWS)) > row

    assert not importers(points_up)


def test_no_file_imports_itself_by_way_of_others() -> None:
    names = {module_of(path) for path in files()}
    edges = {
        module_of(path): {
            _known(each.module, names) for each in imports(path) if each.at_module_level
        }
        & names - {module_of(path), "bigpipe"}
        for path in files()
    }
    while leaves := {name for name, targets in edges.items() if not targets & edges.keys()}:
        for name in leaves:
            del edges[name]
    assert not edges, "these import one another in a circle"


def _known(module: str, names: set[str]) -> str:
    """Return the module of ``names`` that an import reaches: itself, or the one it takes from."""
    return module if module in names else module.rpartition(".")[0]


def test_a_module_lists_what_others_take_from_it() -> None:
    listed = {module_of(path): _listed(path) for path in files()}

    def takes_more(path: Path, each: Import) -> bool:
        module, _, name = each.module.rpartition(".")
        return each.module not in listed and module in listed and name not in listed[module]

    assert not importers(takes_more), "add them to __all__ there"


def _listed(path: Path) -> list[str]:
    """Return the names in ``__all__`` of a file."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def test_only_measure_imports_psutil() -> None:
    assert not importers(lambda path, each: each.top == "psutil" and entry_of(path) != "measure")


def test_astropy_is_imported_where_it_is_needed() -> None:
    def is_early(path: Path, each: Import) -> bool:
        is_for_fits = entry_of(path) in ("demo", "fits") or path.name.startswith("fits_")
        return each.top == "astropy" and each.at_module_level and not is_for_fits

    assert not importers(is_early)


def test_core_is_pure() -> None:
    impure = importers(lambda path, each: entry_of(path) in PURE and each.top in IMPURE)
    impure += [
        f"{file_id(path)}:{node.lineno}: {node.func.id}()"
        for path in files()
        if entry_of(path) in PURE
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("open", "print", "input")
    ]
    assert not impure


def test_a_module_can_be_read_in_one_go() -> None:
    n_lines = {file_id(path): len(path.read_text("utf-8").splitlines()) for path in files()}
    assert not {name: n for name, n in n_lines.items() if n > MAX_LINES}, "split them"


def test_importing_bigpipe_loads_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import bigpipe; "
        "print(*(set(sys.modules) - before), sep='\\n')"
    )
    loaded = run_python("-c", code, is_to_succeed=True)
    modules = set(loaded.stdout.split())
    assert "bigpipe" in modules
    assert not modules.intersection(HEAVY)


def test_every_public_name_is_there() -> None:
    missing = [name for name in bigpipe.__all__ if not hasattr(bigpipe, name)]
    assert not missing
    assert public_names().keys() <= set(bigpipe.__all__)


def test_the_oldest_environment_is_the_lower_bounds() -> None:
    setup, tox = (configparser.ConfigParser(interpolation=None) for _ in range(2))
    setup.read(ROOT / "setup.cfg")
    tox.read(ROOT / "tox.ini")
    bounds = setup["options"]["install_requires"].split()
    assert [bound.replace(">=", "==") for bound in bounds] == tox["testenv:oldest"]["deps"].split()
