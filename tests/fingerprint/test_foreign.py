"""Objects of other libraries that refer to files count by these files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigpipe import FunctionPipe
from tests.fingerprint.test_content import digest

LATER = 2**61  # ns since 1970: no file has been changed then


class Lazy:
    """A dataset in a file, opened anew by each call; nothing is read of its variables."""

    def __init__(self, name: Path, engine: str, **options: Any) -> None:
        self.name, self.engine, self.options = name, engine, options
        self.write(0)

    def write(self, first: int) -> None:
        xarray = pytest.importorskip("xarray")
        values = np.arange(first, first + 5.0)
        dataset = xarray.Dataset({"x": ("t", values), "y": ("t", values)})
        if self.engine == "zarr":
            dataset.to_zarr(self.name, mode="w", consolidated=False)
        else:
            dataset.to_netcdf(self.name, engine=self.engine)

    def __call__(self) -> Any:
        xarray = pytest.importorskip("xarray")
        options = {"consolidated": False} if self.engine == "zarr" else {}
        return xarray.open_dataset(self.name, engine=self.engine, **options, **self.options)


@pytest.fixture(params=["h5netcdf", "scipy", "zarr", "h5netcdf in dask"])
def lazy(tmp_path: Path, request: pytest.FixtureRequest) -> Lazy:
    engine, *chunked = request.param.split(" in ")
    for library in ("xarray", engine, *chunked):
        pytest.importorskip(library, minversion="3" if library == "zarr" else None)
    chunks: dict[str, Any] = {"chunks": {}} if chunked else {}
    return Lazy(tmp_path / "data", engine, **chunks)


def test_a_dataset_that_is_opened_twice_is_the_same(lazy):
    with lazy() as first, lazy() as second:
        assert digest(first) == digest(second)
        assert digest(first.x) == digest(second.x)
        assert not digest(first).unstable


def test_a_dataset_that_is_opened_and_loaded_is_the_same(lazy):
    with lazy() as first, lazy() as second:
        assert digest(first.load()) == digest(second.load())


def test_a_dataset_counts_as_changed_when_its_file_is(lazy, tmp_path):
    with lazy() as dataset:
        before = digest(dataset).text
    lazy.write(7)
    for folder, _, files in os.walk(tmp_path):
        for name in files:
            os.utime(Path(folder, name), ns=(LATER, LATER))
    with lazy() as dataset:
        assert digest(dataset).text != before


def test_another_variable_of_the_same_file_is_another(lazy):
    with lazy() as dataset:
        assert digest(dataset.x) != digest(dataset.y.rename("x"))


def processed(data: Any, flat: Any) -> Any:
    return data + flat.x.values


def test_a_run_with_a_lazy_dataset_is_resumed(lazy, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(5))
    pipe = FunctionPipe(
        process=processed,
        outdir=tmp_path / "out",
        journal=tmp_path / "journal",
        executor="serial",
    )
    for is_known in (False, True):
        with lazy() as flat:
            pout = pipe.pipeline([tmp_path / "a.npy"], flat=flat, create_outdir=True)
        assert [each.from_journal for each in pout.results] == [is_known]


def test_a_store_that_is_written_to_stays_the_same(tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    array = zarr.create_array(tmp_path / "a.zarr", shape=(4,), chunks=(2,), dtype="f8")
    before = digest(array).text
    array[:2] = 1.0
    assert digest(array).text == before
    assert digest(zarr.open(tmp_path / "a.zarr", mode="r")).text != before
