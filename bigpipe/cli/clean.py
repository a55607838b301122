"""``bigpipe clean``: removes the temporary files of killed runs.

Owns its arguments and what it prints. `bigpipe.staging` and
`bigpipe.streaming.chunked.checkpoint_folder` decide which files may be removed.
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
        help="remove temporary files that killed runs left in a folder",
        description="Remove temporary files that killed runs left in a folder and its subfolders.",
    )
    clean.add_argument("folder", type=Path, metavar="DIR", help="folder of outputs")
    clean.add_argument(
        "--checkpoints",
        action="store_true",
        help="also remove checkpoints; unfinished files then start over",
    )
    clean.set_defaults(run=_clean)


def _clean(arguments: argparse.Namespace) -> int:
    from bigpipe.staging import STAGING_NAME, remove_dead_staging

    if not arguments.folder.is_dir():
        return refuse(f"{str(arguments.folder)!r} is not a folder")
    left = 0
    for staging in sorted(arguments.folder.rglob(STAGING_NAME)):
        before = {path.name for path in staging.iterdir()}
        remove_dead_staging(staging.parent)
        after = {path.name for path in staging.iterdir()} if staging.is_dir() else set()
        for name in sorted(before - after):
            print(f"removed {staging / name}")
        for name in sorted(after):
            left += 1
            print(f"kept {staging / name}: in use, or from another machine")
    left += _clean_checkpoints(arguments.folder, remove=arguments.checkpoints)
    say(f"{left} kept" if left else "no leftovers of killed runs remain")
    return OK


def _clean_checkpoints(folder: Path, *, remove: bool) -> int:
    """Remove checkpoints, or say that some exist; return how many remain."""
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
            print(f"kept {name}: in use")
        n_left += len(left)
    if n_left and not remove:
        say("unfinished files resume from checkpoints, which --checkpoints removes")
    return n_left
