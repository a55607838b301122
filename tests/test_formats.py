"""Reading and writing files by the extension of their names."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.units import imperial
from astropy.utils.masked import Masked

from bigpipe import formats
from bigpipe.errors import FileTimeoutError, FormatError
from bigpipe.streaming import read_chunks, write_chunks

IMAGE = np.arange(12, dtype=np.uint8).reshape(3, 4)
COLOURS = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
NEEDED = {
    **dict.fromkeys(("h5", "hdf5"), "h5py"),
    "zarr": "zarr",
    **dict.fromkeys(("png", "jpg", "bmp", "webp"), "PIL"),
}


def there_and_back(data, path, **keywords):
    formats.write(data, path, **keywords)
    return formats.read(path, **keywords)


@pytest.mark.parametrize("as_path", [str, Path], ids=["str", "Path"])
@pytest.mark.parametrize(
    "extension",
    ["npy", "npz", "fits", "fit", "fits.gz", "h5", "hdf5", "zarr", "png", "bmp", "NPY", "FITS"],
)
def test_array_comes_back_as_it_was(extension, as_path, tmp_path):
    if extension in NEEDED:
        pytest.importorskip(NEEDED[extension])
    back = there_and_back(IMAGE, as_path(tmp_path / f"x.{extension}"))
    np.testing.assert_array_equal(back, IMAGE)
    assert [path.name for path in tmp_path.iterdir()] == [f"x.{extension}"]


@pytest.mark.parametrize("extension", ["npy", "fits", "fits.fz", "h5", "zarr", "tif"])
def test_numbers_of_floating_point_come_back(extension, tmp_path):
    for package in {"h5": ["h5py"], "zarr": ["zarr"], "tif": ["tifffile"]}.get(extension, []):
        pytest.importorskip(package)
    image = IMAGE.astype(np.float32)
    np.testing.assert_array_equal(there_and_back(image, tmp_path / f"x.{extension}"), image)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
def test_compression_by_tiles_loses_nothing(dtype, tmp_path):
    noise = np.random.default_rng(1).normal(1000, 50, (30, 40)).astype(dtype)
    np.testing.assert_array_equal(there_and_back(noise, tmp_path / "x.fits.fz"), noise)


@pytest.mark.parametrize("extension", ["png", "bmp"])
def test_colours_come_back(extension, tmp_path):
    pytest.importorskip("PIL")
    np.testing.assert_array_equal(there_and_back(COLOURS, tmp_path / f"x.{extension}"), COLOURS)


@pytest.mark.parametrize(
    ("shape", "dtype", "axes"),
    [
        pytest.param((3, 20, 30), "u1", "QYX", id="three images"),
        pytest.param((2, 4, 20, 30), "f4", "QQYX", id="stacks of four"),
        pytest.param((3, 20, 30), "?", "QYX", id="masks"),
        pytest.param((20, 30, 3), "u1", "YXS", id="colours"),
        pytest.param((5, 20, 30, 3), "u2", "QYXS", id="images in colour"),
        pytest.param((20, 30, 4), "f4", "YXS", id="colours in floating point"),
    ],
)
def test_images_of_a_stack_are_no_colours(shape, dtype, axes, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    stack = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    np.testing.assert_array_equal(there_and_back(stack, tmp_path / "x.tif"), stack)
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        assert file.series[0].axes == axes


def test_row_of_numbers_comes_back_of_tiff(tmp_path):
    pytest.importorskip("tifffile")
    row = np.arange(30, dtype=np.uint16)
    np.testing.assert_array_equal(there_and_back(row, tmp_path / "x.tif").ravel(), row)


def test_sixteen_bits_come_back_of_png(tmp_path):
    pytest.importorskip("PIL")
    image = IMAGE.astype(np.uint16) * 5000
    np.testing.assert_array_equal(there_and_back(image, tmp_path / "x.png"), image)


def test_image_of_numbered_colours_is_read_as_colours(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(COLOURS).convert("P").save(tmp_path / "x.png")
    assert formats.read(tmp_path / "x.png").shape == (3, 4, 3)


@pytest.mark.parametrize("extension", ["npz", "h5", "zarr"])
def test_several_arrays_are_a_dict(extension, tmp_path):
    if extension in NEEDED:
        pytest.importorskip(NEEDED[extension])
    back = there_and_back({"sky": IMAGE, "flat": IMAGE + 1}, tmp_path / f"x.{extension}")
    assert set(back) == {"sky", "flat"}
    np.testing.assert_array_equal(back["flat"], IMAGE + 1)


@pytest.mark.parametrize("extension", ["npz", "h5", "zarr"])
def test_dataset_can_be_chosen_at_any_depth(extension, tmp_path):
    pytest.importorskip(NEEDED.get(extension, "numpy"))
    path = tmp_path / f"x.{extension}"
    formats.write({"night/sky": IMAGE, "flat": IMAGE + 1}, path)
    np.testing.assert_array_equal(formats.read(path, dataset="night/sky"), IMAGE)
    with pytest.raises(FormatError, match=r"no dataset 'dark' in '.*', which has \['"):
        formats.read(path, dataset="dark")


@pytest.mark.parametrize("n", [10, 500])
@pytest.mark.parametrize("extension", ["h5", "npz"])
def test_a_long_list_of_names_is_shortened_to_the_nearest(extension, n, tmp_path):
    if extension in NEEDED:
        pytest.importorskip(NEEDED[extension])
    path = tmp_path / f"x.{extension}"
    formats.write({f"run{i:03}/sky": 1 for i in range(n)}, path)
    more = r" and 490 more" if n > 10 else ""
    with pytest.raises(FormatError, match=rf"has several arrays, \['run000.*'\]{more}: choose"):
        formats.read_slice(path, 0, 1)
    if extension == "h5":
        first = "run123/sky" if n > 10 else "run000/sky"
        with pytest.raises(FormatError, match=rf"which has \['{first}', .*'\]{more}$") as caught:
            formats.read(path, dataset="run123/sky2")
        assert len(str(caught.value)) < 300 + len(str(path))


def test_dataset_of_hdf5_may_be_a_link(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["run/long"] = file["again"] = h5py.SoftLink("/night/sky")
        file["night/sky"] = file["second"] = file.create_dataset("first", data=IMAGE)
        file["nowhere"] = h5py.SoftLink("/nothing")
        file["number"] = 3.5
    for name in ("run/long", "/again", "night/sky", "first", "second"):
        np.testing.assert_array_equal(formats.read(tmp_path / "x.h5", dataset=name), IMAGE)
        part = formats.read_slice(tmp_path / "x.h5", 1, 3, dataset=name)
        np.testing.assert_array_equal(part, IMAGE[1:3])
    assert formats.read(tmp_path / "x.h5", dataset="number") == 3.5
    for name in ("nowhere", "night", ""):
        with pytest.raises(FormatError, match=f"no dataset '{name}'"):
            formats.read(tmp_path / "x.h5", dataset=name)


@pytest.mark.parametrize(
    ("array", "kind"),
    [(np.array(["x", "yy"]), "<U2"), (np.array(["2026-11-21"], "M8[ns]"), r"datetime64\[ns\]")],
    ids=["text", "times"],
)
def test_array_that_hdf5_has_no_type_for_is_named(array, kind, tmp_path):
    pytest.importorskip("h5py")
    message = f"HDF5 has no type for {kind}, of 'b' in '.*x.h5': convert it in process, as by"
    with pytest.raises(FormatError, match=message):
        formats.write({"a": IMAGE, "b": array}, tmp_path / "x.h5")


@pytest.mark.parametrize("extension", ["npz", "h5"])
def test_dataset_is_the_name_of_the_array_that_is_written(extension, tmp_path):
    pytest.importorskip(NEEDED.get(extension, "numpy"))
    there_and_back(IMAGE, tmp_path / f"x.{extension}", dataset="flux")
    with pytest.raises(FormatError, match=r"\['flux'\]"):
        formats.read(tmp_path / f"x.{extension}", dataset="data")


@pytest.mark.parametrize("extension", ["npy", "fits", "zarr", "png"])
def test_what_is_there_is_written_over(extension, tmp_path):
    if extension in NEEDED:
        pytest.importorskip(NEEDED[extension])
    path = tmp_path / f"x.{extension}"
    formats.write(np.zeros((9, 9), np.uint8), path)
    np.testing.assert_array_equal(there_and_back(IMAGE, path), IMAGE)


@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.json"])
def test_text_is_text_with_its_line_ends(name, tmp_path):
    (tmp_path / name).write_bytes("à\r\nb\n".encode())
    text = formats.read(tmp_path / name)
    assert text == "à\r\nb\n"
    formats.write(text, tmp_path / "copy.txt")
    assert (tmp_path / "copy.txt").read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("name", ["x.gz", "x.txt.GZ", "x.csv.bz2"])
def test_text_is_not_written_under_a_name_that_promises_compressed_data(name, tmp_path):
    with pytest.raises(FormatError, match=r"gzip\.compress"):
        formats.write("text", tmp_path / name)
    assert not (tmp_path / name).exists()
    formats.write(b"these may be compressed", tmp_path / name)
    assert (tmp_path / name).exists()


def test_text_in_another_encoding_comes_out_as_it_went_in(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xe9\xff")
    formats.write(formats.read(tmp_path / "x.txt"), tmp_path / "y.txt")
    assert (tmp_path / "y.txt").read_bytes() == b"\xe9\xff"


@pytest.mark.parametrize("name", ["x", "x.dat", "x.tar.gz", ".hidden"])
def test_anything_else_is_bytes(name, tmp_path):
    (tmp_path / name).write_bytes(b"\0\1")
    assert there_and_back(formats.read(tmp_path / name), tmp_path / name) == b"\0\1"


# FITS.


def raw_frame(path, **cards):
    hdu = fits.PrimaryHDU(IMAGE.astype(np.uint16))  # with BZERO
    hdu.header.update({"OBJECT": "M 13", "EXPTIME": 30.0, **cards})
    hdu.header["HISTORY"] = "taken"
    hdu.writeto(path, checksum=True)
    return path


@pytest.mark.parametrize("name", ["out.fits", "out.fits.gz", "out.fits.fz"])
def test_array_keeps_the_header_of_its_input(name, tmp_path):
    source = raw_frame(tmp_path / "in.fits")
    data = formats.read(source) * 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        formats.write(data, tmp_path / name, in_name=source)
    header = fits.getheader(tmp_path / name, ext=1 if name.endswith("fz") else 0)
    assert (header["OBJECT"], header["EXPTIME"]) == ("M 13", 30.0)
    assert "taken" in header["HISTORY"]
    assert "BZERO" not in header
    assert "CHECKSUM" not in header
    np.testing.assert_array_equal(formats.read(tmp_path / name), data)


def test_image_of_an_extension_has_the_cards_of_the_primary_header_too(tmp_path):
    primary = fits.PrimaryHDU()
    primary.header["TELESCOP"] = "one metre"
    primary.header["EXPTIME"] = 1.0
    image = fits.ImageHDU(IMAGE, name="SCI")
    image.header["EXPTIME"] = 2.0
    fits.HDUList([primary, image]).writeto(tmp_path / "in.fits")
    data = formats.read(tmp_path / "in.fits")
    np.testing.assert_array_equal(data, IMAGE)
    formats.write(data, tmp_path / "out.fits", in_name=tmp_path / "in.fits")
    header = fits.getheader(tmp_path / "out.fits")
    assert (header["TELESCOP"], header["EXPTIME"]) == ("one metre", 2.0)


@pytest.mark.parametrize("in_chunks", [False, True], ids=["whole", "chunks"])
def test_image_made_from_a_table_has_its_cards_but_those_of_columns(in_chunks, tmp_path):
    table = fits.BinTableHDU(np.ones(5, [("x", "f4"), ("y", "i2")]), name="EVENTS")
    table.header.update(EXPTIME=30.0, TUNIT1="pix", TCRPX2=1.5, HDUCLAS1="EVENTS", TNULL2=-1)
    first = fits.PrimaryHDU()
    first.header["TELESCOP"] = "Chandra"
    fits.HDUList([first, table]).writeto(tmp_path / "x.fits")
    path = str(tmp_path / "y.fits")
    if in_chunks:
        write_chunks(path, [IMAGE], like=tmp_path / "x.fits")
    else:
        formats.write(IMAGE, path, in_name=tmp_path / "x.fits")
    with fits.open(path) as hdus:
        hdus.verify("exception")
        header = hdus[0].header
    kept = [keyword for keyword in header if keyword not in fits.PrimaryHDU(IMAGE).header]
    assert sorted(kept) == ["EXPTIME", "TELESCOP"]
    assert (header["EXPTIME"], header["TELESCOP"]) == (30.0, "Chandra")


@pytest.mark.parametrize("name", ["y.fits", "y.fits.fz"])
def test_image_with_a_unit_keeps_it(name, tmp_path):
    fits.PrimaryHDU(IMAGE, fits.Header({"BUNIT": "adu", "OBJECT": "M1"})).writeto(
        tmp_path / "x.fits"
    )
    formats.write(IMAGE * units.electron, tmp_path / name, in_name=tmp_path / "x.fits")
    header = fits.getheader(tmp_path / name, name.endswith("fz"))
    assert (header["BUNIT"], header["OBJECT"]) == ("electron", "M1")
    formats.write(IMAGE * imperial.mile, tmp_path / name)  # FITS has no such unit
    assert fits.getheader(tmp_path / name, name.endswith("fz"))["BUNIT"] == "mi"


def test_hdu_can_be_chosen(tmp_path):
    hdus = [fits.PrimaryHDU(IMAGE), fits.ImageHDU(IMAGE + 1, name="ERR")]
    fits.HDUList(hdus).writeto(tmp_path / "x.fits")
    np.testing.assert_array_equal(formats.read(tmp_path / "x.fits", hdu="ERR"), IMAGE + 1)
    with pytest.raises(FormatError, match="no HDU 'MASK' in"):
        formats.read(tmp_path / "x.fits", hdu="MASK")


def test_fits_file_without_data_is_said_so(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "x.fits")
    with pytest.raises(FormatError, match=r"no HDU of '.*' has data: leave this file out"):
        formats.read(tmp_path / "x.fits")


@pytest.mark.parametrize("extension", ["npy", "fits", "h5"])  # Zarr warns of their future
def test_array_with_fields_comes_back(extension, tmp_path):
    pytest.importorskip(NEEDED.get(extension, "numpy"))
    rows = np.zeros(4, [("flux", "f4"), ("n", "i2")])
    rows["flux"], rows["n"] = [1, 2, 3, 4], [5, 6, 7, 8]
    back = np.asarray(there_and_back(rows, tmp_path / f"x.{extension}"))
    assert back.dtype.names == ("flux", "n")
    np.testing.assert_array_equal(back.astype(rows.dtype), rows)


def test_array_of_which_nothing_is_masked_is_written(tmp_path):
    array = np.ma.array(IMAGE, mask=False)
    np.testing.assert_array_equal(there_and_back(array, tmp_path / "x.npy"), IMAGE)


def test_fits_table_without_rows_is_a_table_like_any_other(tmp_path):
    """Such as a catalogue of a frame in which no source was found."""
    table = Table({"flux": [1.0, 2.0], "name": ["a", "b"]})[:0]
    table.write(tmp_path / "x.fits")
    again = formats.read(tmp_path / "x.fits")
    assert (len(again), again.colnames) == (0, ["flux", "name"])
    reader = read_chunks(tmp_path / "x.fits")
    assert (list(reader), reader.dtype.names) == ([], ("flux", "name"))
    empty, full = fits.BinTableHDU(table), fits.ImageHDU(IMAGE)
    fits.HDUList([fits.PrimaryHDU(), empty, full]).writeto(tmp_path / "y.fits")
    np.testing.assert_array_equal(formats.read(tmp_path / "y.fits"), IMAGE)


def test_fits_table_is_a_table(tmp_path):
    Table({"flux": [1.0, 2.0]}).write(tmp_path / "x.fits")
    table = formats.read(tmp_path / "x.fits")
    assert isinstance(table, Table)
    assert list(table["flux"]) == [1.0, 2.0]


@pytest.mark.parametrize("dtype", ["bool", "float16"])
def test_types_that_fits_lacks_are_written_as_the_nearest(dtype, tmp_path):
    back = there_and_back(IMAGE.astype(dtype), tmp_path / "x.fits")
    np.testing.assert_array_equal(back, IMAGE.astype(dtype))


# Objects that write themselves, and what cannot be written.


def test_tables_ccds_and_hdus_write_themselves(tmp_path):
    formats.write(Table({"a": [1]}), tmp_path / "x.ecsv")
    assert list(Table.read(tmp_path / "x.ecsv")["a"]) == [1]
    for _ in range(2):  # the second time over an existing file
        formats.write(CCDData(IMAGE, unit="adu"), tmp_path / "ccd.fits")
        formats.write(fits.PrimaryHDU(IMAGE), tmp_path / "hdu.fits")
    assert fits.getheader(tmp_path / "ccd.fits")["BUNIT"] == "adu"
    np.testing.assert_array_equal(formats.read(tmp_path / "hdu.fits"), IMAGE)


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (IMAGE, "x.dat", r"type ndarray .* 'x.dat': it has the extension '.dat'.*outname_ext"),
        (IMAGE, "x", "it has no extension, which names no format"),
        ({"a": 1, "b": {}}, "x.npz", "array 'b' in the data, of type dict is not an array of num"),
        ({"a": 1, "b": [[1], []]}, "x.npz", "array 'b' in the data, of type list is not"),
        ({"a": np.array([len])}, "x.npz", "array 'a' .* type ndarray with elements of object is n"),
        (len, "x.npy", "data of type builtin_function_or_method is not an array of numbers"),
        (IMAGE * 1j, "x.fits", "FITS has no type complex"),
        (IMAGE / 2, "x.png", "array of float64 .* as .png, which takes images of uint8 or uint16"),
        (IMAGE.astype("u2"), "x.jpg", "takes images of uint8: scale it"),
        (IMAGE[0], "x.png", r"shape \(4,\)"),
        (np.ma.array([1, 2], mask=[0, 1]), "x.npy", r"masked values, .* 'x.npy': fill them in p"),
        (Masked([1, 2], mask=[False, True]), "x.npy", "masked values"),
        (np.ma.zeros(2, [("a", "i2")]).filled(0).view(np.ma.MaskedArray), "x.tif", "TIFF has no"),
        ({"a": np.ma.array([1], mask=[1])}, "x.npz", "array 'a' in the data, with masked values"),
        (IMAGE.astype("g"), "x.tif", "TIFF has no type (float128|longdouble)"),
        (IMAGE.astype("M8[s]"), "x.tif", r"TIFF has no type datetime64\[s\]"),
        (np.zeros(2, [("a", "f4", 2)]), "x.tif", "TIFF has no type"),
        (IMAGE.astype("g"), "x.zarr", "Zarr has no type for (float128|longdouble)"),
        (np.float32(1.5), "x.fits", "single number, .* at least one axis. Return np.atleast_1d"),
    ],
    ids=[
        *("no format", "no extension", "dict in npz", "ragged list", "objects", "function"),
        *(
            "complex",
            "float",
            "16 bits",
            "row",
            "masked",
            "masked of astropy",
            "mask of fields",
            "one is masked",
            "long double",
        ),
        *("times", "fields", "long double of zarr", "single number"),
    ],
)
def test_what_cannot_be_written_says_what_to_do(data, name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name.endswith(("png", "jpg")):
        pytest.importorskip("PIL")
    pytest.importorskip({"x.tif": "tifffile", "x.zarr": "zarr"}.get(name, "numpy"))
    with pytest.raises(FormatError, match=message):
        formats.write(data, name)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "hidden", "message"),
    [
        ("x.h5", ["h5py"], "'x.h5' needs h5py, which is not installed: .* install h5py; or give"),
        ("x.zarr", ["zarr"], "needs zarr"),
        ("x.png", ["PIL.Image"], "needs Pillow, .* install Pillow; or"),
        ("x.tif", ["PIL.Image", "tifffile"], "needs tifffile or Pillow, .* install tifffile; or"),
    ],
    ids=["h5", "zarr", "png", "tif"],
)
def test_library_that_is_missing_is_named(name, hidden, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module in hidden:
        monkeypatch.setitem(sys.modules, module, None)
    for use in (lambda: formats.read(name), lambda: formats.write(IMAGE, name)):
        with pytest.raises(FormatError, match=message):
            use()


def test_pictures_are_read_and_written_as_tiff_without_the_library_for_all_of_tiff(
    tmp_path, monkeypatch
):
    pytest.importorskip("PIL")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    np.testing.assert_array_equal(there_and_back(IMAGE, tmp_path / "x.tif"), IMAGE)


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_all_frames_of_an_animation_are_read_as_a_stack(extension, tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    path = tmp_path / f"x.{extension}"
    stack = np.zeros((3, 4, 5, 3), np.uint8)
    stack[0, 1, 2], stack[1, 2, 3], stack[2, :] = (200, 0, 0), (0, 100, 0), (10, 20, 30)
    first, *others = map(pillow.fromarray, stack)
    how = {"lossless": True} if extension == "webp" else {}
    first.save(path, save_all=True, append_images=others, **how)
    np.testing.assert_array_equal(formats.read(path)[..., :3], stack)  # WebP adds transparency
    np.testing.assert_array_equal(formats.read_slice(path, 1, 3)[..., :3], stack[1:])
    first.save(path, **how)
    np.testing.assert_array_equal(formats.read(path), stack[0])


def test_frames_of_an_animation_without_colours_are_a_stack_of_planes(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    stack = np.arange(512, dtype=np.uint16).reshape(2, 16, 16).astype(np.uint8)
    stack[1] = stack[1].T
    first, second = map(pillow.fromarray, stack)
    first.save(tmp_path / "x.gif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(formats.read(tmp_path / "x.gif"), stack)


def test_the_preview_in_a_picture_of_a_camera_is_left_out(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    picture = pillow.new("RGB", (8, 8), (100, 0, 0))
    path = tmp_path / "x.jpg"
    picture.save(path, "MPO", save_all=True, append_images=[picture.resize((4, 4))])
    assert formats.read(path).shape == (8, 8, 3)


def test_all_images_of_a_tiff_file_are_read_without_the_library_for_all_of_tiff(
    tmp_path, monkeypatch
):
    pillow = pytest.importorskip("PIL.Image")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    stack = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    first, *others = map(pillow.fromarray, stack)
    first.save(tmp_path / "x.tif", save_all=True, append_images=others)
    np.testing.assert_array_equal(formats.read(tmp_path / "x.tif"), stack)
    first.save(tmp_path / "x.tif", save_all=True, append_images=[first.resize((2, 2))])
    with pytest.raises(FormatError, match=r"the 2 images in '.*x.tif' are not of one size"):
        formats.read(tmp_path / "x.tif")


def damaged_image(extension, content):
    """Return the bytes of a file that cannot be decoded, or only in part."""
    if content == "half":
        whole = io.BytesIO()
        image = pytest.importorskip("PIL.Image").fromarray(np.tile(IMAGE, (40, 40)))
        image.save(whole, {"tif": "TIFF"}.get(extension, extension))
        return whole.getvalue()[: len(whole.getvalue()) // 2]
    return content


@pytest.mark.parametrize("content", [b"", b"II*\0junk", "half"], ids=["empty", "junk", "half"])
@pytest.mark.parametrize("extension", ["png", "gif", "tif"])
def test_image_that_cannot_be_decoded_is_named_with_a_remedy(
    extension, content, tmp_path, monkeypatch
):
    path = tmp_path / f"x.{extension}"
    path.write_bytes(damaged_image(extension, content))
    remedy = rf"'.*x.{extension}' cannot be read \(.*, copy it again; otherwise give a function"
    for hidden in [(), ("tifffile",)]:
        for module in hidden:
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises((FormatError, OSError), match=remedy):
            formats.read(path)


@pytest.mark.parametrize("content", [0, b"junk" * 30, 0.5], ids=["empty", "junk", "half"])
@pytest.mark.parametrize("extension", ["npy", "npz", "fits", "fits.gz", "fits.fz", "h5"])
def test_damaged_file_is_named_with_a_remedy(extension, content, tmp_path):
    pytest.importorskip(NEEDED.get(extension, "numpy"))
    path = tmp_path / f"x.{extension}"
    formats.write(np.arange(30000.0).reshape(100, 300) ** 1.1, path)
    whole = path.read_bytes()
    path.write_bytes(content if isinstance(content, bytes) else whole[: int(content * len(whole))])
    remedy = rf"'.*x.{extension}' cannot be read \(.*, copy it again; otherwise give a function"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of astropy, about a truncated file
        with pytest.raises((FormatError, OSError), match=remedy) as caught:
            formats.read(path)
    assert caught.value.__cause__ is not None
    # By default, an OSError is retried: the file may still be being copied.
    assert isinstance(caught.value, OSError) == isinstance(caught.value.__cause__, OSError)


def test_stack_of_images_that_is_cut_short_is_no_shorter_stack(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.ones((7, 200, 160), np.uint8), metadata=None)
    np.testing.assert_array_equal(formats.read(path), np.ones((7, 200, 160)))
    path.write_bytes(path.read_bytes()[:-30000])
    with pytest.raises(FormatError, match=r"it ends after . images, but should have more"):
        formats.read(path)


def test_error_of_the_system_or_of_bigpipe_stays_as_it_is(tmp_path, monkeypatch):
    for error in (PermissionError(13, "Permission denied"), FileTimeoutError("x"), MemoryError()):
        monkeypatch.setattr(np, "load", Mock(side_effect=error))
        with pytest.raises(type(error)) as caught:
            formats.read(tmp_path / "x.npy")
        assert caught.value is error


def test_image_that_is_not_there_is_no_damaged_one(tmp_path):
    pytest.importorskip("PIL")
    for name in ("x.png", "x.tif"):
        with pytest.raises(FileNotFoundError, match=name):
            formats.read(tmp_path / name)


@pytest.mark.parametrize("extension", ["npy", "npz", "h5", "zarr"])
def test_single_number_comes_back_and_has_no_part(extension, tmp_path):
    if extension in NEEDED:
        pytest.importorskip(NEEDED[extension])
    path = tmp_path / f"x.{extension}"
    assert there_and_back(np.float32(1.5), path) == np.float32(1.5)
    with pytest.raises(FormatError, match=rf"x.{extension}' is a single number .*: give the name"):
        formats.read_slice(path, 0, 2)
    if extension != "npy":
        back = there_and_back({"exposure": np.float32(1.5), "sky": IMAGE}, path)
        assert back["exposure"] == np.float32(1.5)
        np.testing.assert_array_equal(back["sky"], IMAGE)


@pytest.mark.parametrize("limits", [(0, 2), (1, None), (None, -1), (None, None), (5, 9)], ids=str)
@pytest.mark.parametrize("extension", ["npy", "npz", "fits", "fits.fz", "h5", "zarr", "png"])
def test_part_of_a_file_is_read(extension, limits, tmp_path):
    if extension in NEEDED:
        pytest.importorskip(NEEDED[extension])
    if extension.startswith("fits") and limits == (5, 9):
        pytest.skip("astropy refuses a part without rows")
    formats.write(IMAGE, tmp_path / f"x.{extension}")
    part = formats.read_slice(tmp_path / f"x.{extension}", *limits)
    assert type(part) is np.ndarray
    assert part.tolist() == IMAGE[slice(*limits)].tolist()


@pytest.mark.parametrize("extension", ["npz", "h5", "zarr"])
def test_dataset_of_a_part_can_be_chosen(extension, tmp_path):
    pytest.importorskip(NEEDED.get(extension, "numpy"))
    name = tmp_path / f"x.{extension}"
    formats.write({"one": IMAGE, "two": IMAGE + 1}, name)
    assert formats.read_slice(name, 1, 3, dataset="two").tolist() == (IMAGE + 1)[1:3].tolist()
    with pytest.raises(FormatError, match="dataset"):
        formats.read_slice(name, 1, 3)


def test_part_of_a_table_of_text_and_of_nothing_is_read(tmp_path):
    Table({"x": np.arange(5)}).write(tmp_path / "x.fits")
    assert formats.read_slice(tmp_path / "x.fits", 1, 3)["x"].tolist() == [1, 2]
    formats.write("hello", tmp_path / "x.txt")
    assert formats.read_slice(tmp_path / "x.txt", 1, 3) == "el"
    formats.write(np.empty((0, 3)), tmp_path / "x.npy")
    assert formats.read_slice(tmp_path / "x.npy", 0, 3).shape == (0, 3)


def test_no_more_of_an_array_is_read_than_the_part(tmp_path):
    """A file that claims to be huge, but has only a part of its data."""
    name = tmp_path / "x.npy"
    np.save(name, np.zeros((4, 1000)))
    with name.open("r+b") as file:
        header = file.read(128)
        file.seek(0)
        file.write(header.replace(b"(4, 1000), }" + b" " * 8, b"(100000000, 1000), }"))
        file.truncate(128 + 8 * 100_000_000 * 1000)
    assert formats.read_slice(name, 99_999_998, None).tolist() == [[0] * 1000] * 2
