"""A pipeline whose files are nothing beside the keyword that they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigpipe import BigMultiPipe

__all__ = ["KeywordPipe"]


class KeywordPipe(BigMultiPipe):
    """Looks at one value of a large keyword, and writes into it."""

    def file_read(self, in_name: str, **kwargs: Any) -> str:
        return in_name

    def data_process_meta_create(
        self, data: str, large: Any = None, **kwargs: Any
    ) -> tuple[str, dict[str, Any]]:
        if large is None:
            return data, {"last": None}
        last = float(large[-1])
        large[-1] = -1.0  # the next file must not see it
        return data, {"last": last}

    def file_write(self, data: str, outname: str, **kwargs: Any) -> str:
        Path(outname).write_text(data)
        return outname
