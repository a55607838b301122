"""The work of a case as a pipeline: what a person makes of `cases.process_file`."""

from __future__ import annotations

from typing import Any

import cases

from bigpipe import BigMultiPipe

__all__ = ["CaseHooks", "CasePipe"]


class CaseHooks:
    """The three parts of a case, as hooks of a pipeline class that comes after this one."""

    def __init__(self, case_name: str, **kwargs: Any) -> None:
        self.case_name = case_name
        super().__init__(**kwargs)

    def file_read(self, in_name: str, **kwargs: Any) -> Any:
        return cases.CASES[self.case_name].read(in_name)

    def data_process(self, data: Any, **kwargs: Any) -> Any:
        return cases.CASES[self.case_name].process(data)

    def file_write(self, data: Any, outname: str, **kwargs: Any) -> str:
        cases.CASES[self.case_name].write(data, outname)
        return outname


class CasePipe(CaseHooks, BigMultiPipe):
    """A case as a pipeline of bigpipe's."""
