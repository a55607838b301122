"""The codecs for single times of pandas, and for what it has where there is none.

Owns `Timestamp`, `Timedelta`, ``NaT`` and ``NA``. Columns and tables are in
`bigpipe.encoding.pandas_tables`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo
from typing import Any

from bigpipe.encoding.codec import Codec, checked, instance_of, items_of

__all__ = ["codecs"]


def codecs() -> Iterable[Codec]:
    """Return the codecs for pandas."""
    import pandas as pd

    yield Codec(pd.Timestamp, "Timestamp", _timestamp_parts, _timestamp)
    yield Codec(pd.Timedelta, "Timedelta", lambda value: value.to_timedelta64(), _timedelta)
    yield Codec(type(pd.NaT), "NaT", lambda value: None, lambda parts: pd.NaT)
    yield Codec(type(pd.NA), "NA", lambda value: None, lambda parts: pd.NA)


def _timestamp_parts(value: Any) -> list[Any]:
    return [value.to_datetime64(), value.tzinfo]  # the first in UTC, in the unit of the time


def _timestamp(parts: Any) -> Any:
    import numpy as np
    import pandas as pd

    instant, zone = items_of(parts, 2)
    time = pd.Timestamp(checked(instant, np.datetime64))
    if zone is None:
        return time
    return time.tz_localize("UTC").tz_convert(instance_of(zone, tzinfo))


def _timedelta(parts: Any) -> Any:
    import numpy as np
    import pandas as pd

    return pd.Timedelta(checked(parts, np.timedelta64))
