"""The directive ``options-table``: all options of a run, from their declarations."""

from __future__ import annotations

import re
from typing import Any

from bigpipe.options import table

__all__ = ["lines", "setup"]

CODE = re.compile(r"'\w+'|\b\w+_\w+\b")  # what help texts quote, and names


def lines() -> list[str]:
    """Return the table as lines of reStructuredText."""
    text = [
        ".. list-table::",
        "    :header-rows: 1",
        "    :widths: 20 12 10 58",
        "    :class: options",
        "",
        *_row("Option", "Default", "Unit", "Meaning"),
    ]
    for name, default, unit, meaning in table():
        text += _row(f"``{name}``", f"``{default}``", unit, CODE.sub(r"``\g<0>``", meaning))
    return text


def _row(*cells: str) -> list[str]:
    first, *others = cells
    return [f"    * - {first}", *(f"      - {cell}" for cell in others)]


def setup(app: Any) -> dict[str, bool]:
    """Give Sphinx the directive."""
    # Here, so that a test can look at the table where there is no Sphinx.
    from sphinx.util.docutils import SphinxDirective

    class OptionsTable(SphinxDirective):
        def run(self) -> list[Any]:
            return self.parse_text_to_nodes("\n".join(lines()))

    app.add_directive("options-table", OptionsTable)
    return {"parallel_read_safe": True}
