"""Where files are processed: serial, threads, processes, and pools that others have made."""

from bigpipe.executors.base import Executor

__all__ = ["Executor"]
