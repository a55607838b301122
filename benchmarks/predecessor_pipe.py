"""The work of a case as a pipeline of bigmultipipe, bigpipe's predecessor."""

from __future__ import annotations

import os
from typing import Any

from bigmultipipe import BigMultiPipe
from case_pipe import CaseHooks

__all__ = ["PredecessorPipe"]


class PredecessorPipe(CaseHooks, BigMultiPipe):
    """The same hooks; outputs are whole if ``file_write`` sees to it, as here if asked."""

    def __init__(self, case_name: str, *, is_whole: bool, **kwargs: Any) -> None:
        self.is_whole = is_whole
        super().__init__(case_name, **kwargs)

    def file_write(self, data: Any, outname: str, **kwargs: Any) -> str:
        if not self.is_whole:
            return super().file_write(data, outname, **kwargs)
        super().file_write(data, f"{outname}.tmp", **kwargs)
        os.replace(f"{outname}.tmp", outname)
        return outname
