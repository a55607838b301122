import builtins
import re
import sys
from pathlib import Path

_docs = Path(__file__).parent
_root = _docs.parent
sys.path[:0] = [str(_root), str(_docs)]  # the documentation of this checkout, installed or not

from numpydoc.xref import DEFAULT_LINKS  # noqa: E402

import bigpipe  # noqa: E402

project = "bigpipe"
author = "bigpipe developers"
copyright = "2026, bigpipe developers"
version = release = bigpipe.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",  # for `testsetup`; the examples are run by tests/test_docs.py
    "numpydoc",
    "options_table",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"bigpipe {bigpipe.__version__}"
html_static_path = ["_static"]
html_css_files = ["bigpipe.css"]
html_show_sourcelink = False
smartquotes = False  # in technical text a quote may be code

default_role = "autolink"  # a link if it names an object, else a parameter in italics
rst_prolog = ".. currentmodule:: bigpipe\n"  # so that `BigMultiPipe` is a link on every page
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say it in words, with shapes and units
autosummary_generate = False  # the reference is written by hand, in the order it is read
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # but these, where the types of parameters and results are told
numpydoc_xref_aliases = {name: name for name in DEFAULT_LINKS}
numpydoc_xref_aliases |= {name: f"bigpipe.{name}" for name in bigpipe.__all__}
toc_object_entries_show_parents = "hide"

# Every reference must resolve (-n), except to what is documented elsewhere: Python itself, and
# the modules of bigpipe that are not in the reference but named in its docstrings.
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
    (r"py:.*", _any_of({"astropy", "ccdproc", "np", "numpy", "scipy", "tqdm"})),
    (r"py:obj", _any_of(_modules)),
    (r"py:obj", _any_of(DEFAULT_LINKS)),
    (r"py:obj", "exceptions"),  # an attribute that Python's ExceptionGroup has
]
