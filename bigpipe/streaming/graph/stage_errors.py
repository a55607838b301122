"""The error of a stage: which stage, on which element, and why.

Owns the exception and its message.
"""

from __future__ import annotations

import signal
from typing import Any

from bigpipe.errors import BigpipeError, FileError, how_ended

__all__ = ["StageError"]


class StageError(BigpipeError, RuntimeError):
    """A stage raised an exception, was killed, or could not start; the others were ended.

    Parameters
    ----------
    message : str
        What happened, where, and the remedy if there is one.
    stage : str
        Name of the stage.
    element : int or None
        Number of its element, counted from 0 at that stage; ``None`` before the first and after the
        last.
    exitcode : int or None
        If its process ended: the exit code, or minus the number of the signal.
    traceback : str
        Traceback as text; ``''`` if there is none.

    Notes
    -----
    ``__cause__`` is the exception that the step raised.
    """

    def __init__(
        self,
        message: str,
        *,
        stage: str,
        element: int | None = None,
        exitcode: int | None = None,
        traceback: str = "",
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.element = element
        self.exitcode = exitcode
        self.traceback = traceback

    @classmethod
    def raised(cls, stage: str, element: int | None, error: FileError) -> StageError:
        """Make the error of a stage whose step has raised an exception.

        Parameters
        ----------
        stage, element
            The stage and its element.
        error : FileError
            An error with the exception as its cause.
        """
        cause = error.__cause__
        where = "" if element is None else f" on element {element}"
        what = str(error).removeprefix(f"{stage} raised ")
        made = cls(
            f"the stage {stage!r} raised{where}: {what}",
            stage=stage,
            element=element,
            traceback=error.traceback,
        )
        made.__cause__ = cause
        return made

    @classmethod
    def died(cls, stage: str, element: int | None, pid: int, exitcode: int) -> StageError:
        """Make the error of a stage whose process has died."""
        where = " before its first element" if element is None else f" on element {element}"
        hint = ""
        if exitcode == -signal.SIGKILL:
            hint = ". Memory may have run out: use smaller chunks, or lower prefetch"
        return cls(
            f"the stage {stage!r} (process {pid}) {how_ended(exitcode)}{where}{hint}",
            stage=stage,
            element=element,
            exitcode=exitcode,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        carrier = FileError(str(self), hook=self.stage, traceback=self.traceback)
        carrier.__cause__ = self.__cause__
        return (_rebuilt, (str(self), self.stage, self.element, self.exitcode, carrier))


def _rebuilt(
    message: str, stage: str, element: int | None, exitcode: int | None, carrier: FileError
) -> StageError:
    error = StageError(
        message, stage=stage, element=element, exitcode=exitcode, traceback=carrier.traceback
    )
    error.__cause__ = carrier.__cause__
    return error
