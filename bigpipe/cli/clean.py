"""``bigpipe clean``: removes what killed runs have left.

Owns its arguments, and what is printed. What may be removed is decided by `bigpipe.staging` and
`bigpipe.streaming.chunked.checkpoint_folder`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bigpipe.cli.screen import OK, refuse, say

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command.

    Parameters
    ----------
    commands : argparse action
        What ``add_subparsers`` returned.
    """
    clean = commands.add_parser(
        "clean",
        help="remove what killed runs have left in a folder, and below it",
        description="Remove what killed runs have left in a folder, and below it.",
    )
    clean.add_argument("folder", type=Path, metavar="DIR", help="a folder of outputs")
    clean.add_argument(
        "--checkpoints",
        action="store_true",
        help="also unfinished outputs of files that would go on from a checkpoint",
    )
    clean.set_defaults(run=_clean)


def _clean(arguments: argparse.Namespace) -> int:
    from bigpipe.staging import STAGING_NAME, remove_dead_staging

    if not arguments.folder.is_dir():
        return refuse(f"{str(arguments.folder)!r} is no folder")
    left = 0
    for staging in sorted(arguments.folder.rglob(STAGING_NAME)):
        before = {path.name for path in staging.iterdir()}
        remove_dead_staging(staging.parent)
        after = {path.name for path in staging.iterdir()} if staging.is_dir() else set()
        for name in sorted(before - after):
            print(f"removed {staging / name}")
        for name in sorted(after):
            left += 1
            print(f"left {staging / name}: in use, or of another machine")
    left += _clean_checkpoints(arguments.folder, remove=arguments.checkpoints)
    say(f"{left} left" if left else "nothing is left of killed runs")
    return OK


def _clean_checkpoints(folder: Path, *, remove: bool) -> int:
    """Remove checkpoints, or say that there are some; return how many are left."""
    from bigpipe.streaming.chunked.checkpoint_folder import CHECKPOINT_NAME, remove_dead_checkpoints

    n_left = 0
    for parent in sorted(folder.rglob(CHECKPOINT_NAME)):
        if not remove:
            n_left += len(list(parent.iterdir()))
            continue
        removed, left = remove_dead_checkpoints(parent)
        for name in removed:
            print(f"removed {name}")
        for name in left:
            print(f"left {name}: in use")
        n_left += len(left)
    if n_left and not remove:
        say("files that were not finished go on from their checkpoints: --checkpoints removes them")
    return n_left
