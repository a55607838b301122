"""The sizes of the tests: small by default, larger if environment variables say so."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields

PREFIX = "BIGPIPE_FAULTS_"


@dataclass(frozen=True)
class Sizes:
    """Each field can be set by an environment variable: `PREFIX` and its name in capitals."""

    instants: int = 12
    """Random instants at which something is killed."""
    journal_instants: int = 4
    """Random instants at which the parent is killed while it writes the journal."""
    interrupts: int = 8
    """Random instants at which a run is interrupted."""
    starts: int = 3
    """Starts of workers, for each start method, while threads hold locks."""
    files: int = 500
    """Files of which 1 % fail in all ways at once."""
    meta_bytes: int = 20_000_000
    """Metadata of one file."""
    seed: int = field(default_factory=lambda: int.from_bytes(os.urandom(3)))
    """Seed of all random numbers."""

    @classmethod
    def from_environment(cls) -> Sizes:
        """Return the sizes that were asked for."""
        return cls(
            **{
                each.name: int(os.environ[PREFIX + each.name.upper()])
                for each in fields(cls)
                if PREFIX + each.name.upper() in os.environ
            }
        )


LARGE = Sizes(
    instants=200,
    journal_instants=50,
    interrupts=100,
    starts=100,
    files=10_000,
    meta_bytes=200_000_000,
)
"""For the page of results."""
SIZES = Sizes.from_environment()
