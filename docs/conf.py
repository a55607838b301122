import builtins
import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

project = "bigpipe"
author = "bigpipe developers"
copyright = "2026, bigpipe developers"
version = release = version_of("bigpipe")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {
    "description": "A loop over large files, on every core, from disk to disk.",
    "fixed_sidebar": True,
    "page_width": "1000px",
}
html_show_sourcelink = False

default_role = "autolink"  # a link if it names an object, else a parameter in italics
rst_prolog = ".. currentmodule:: bigpipe\n"  # so that `BigMultiPipe` is a link on every page
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say it in words, with shapes and units
autosummary_generate = False  # the reference is written by hand, in the order it is read
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# Every reference must resolve (-n), except to what is documented elsewhere: Python itself, and
# the modules of bigpipe that are not in the reference but named in its docstrings.
_root = Path(__file__).parents[1]
_python = {*dir(builtins), *sys.stdlib_module_names} - {"_"}
_modules = {
    ".".join(path.relative_to(_root).with_suffix("").parts)
    for path in _root.glob("bigpipe/**/[!_]*.py")
}
_modules |= {name.removeprefix("bigpipe.") for name in _modules}


def _any_of(names):
    return rf"(?:{'|'.join(map(re.escape, sorted(names)))})(?:\..+)?"


nitpick_ignore_regex = [
    (r"py:.*", _any_of(_python)),
    (r"py:.*", _any_of({"astropy", "np", "numpy", "tqdm"})),
    (r"py:obj", _any_of(_modules)),
    (r"py:obj", "exceptions"),  # an attribute that Python's ExceptionGroup has
]
