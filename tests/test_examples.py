"""The examples, as a person runs them: on real frames where they are, and on made ones.

Figures are compared with what the tests work out themselves, in a plain loop.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from astropy.io import ascii as ascii_tables
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.stats import sigma_clip
from astropy.table import Table

from bigpipe import no_outfile
from bigpipe.budget import parse_bytes
from bigpipe.fits import CCDMultiPipe, remove_cosmic_rays, subtract_bias
from tests.programs import run_python

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
DATA = ROOT.parent / "shared" / "data"
KAST = DATA / "kast_blue"
M13 = DATA / "m13"
STRAIN = DATA / "timeseries"

pytestmark = pytest.mark.process


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"{', '.join(missing)} not installed: pip install '.[ccd]'"
    )


def needs_data(folder: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not folder.is_dir(), reason=f"no shared/data/{folder.name}")


needs_ccdproc = needs("ccdproc", "astroscrappy")
needs_photutils = needs("photutils", "scipy")
needs_streaming = needs("scipy", "h5py")


def run(
    script: Path, *arguments: str | Path, cwd: Path, path: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run an example in a folder of its own, with `path` searched first for modules."""
    searched = os.pathsep.join([str(path), str(ROOT)])
    return run_python(script, *arguments, cwd=cwd, env={"PYTHONPATH": searched})


def run_well(script: Path, *arguments: str | Path, cwd: Path) -> str:
    """Run an example that must end well and say nothing on standard error."""
    done = run(script, *arguments, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def printed_table(text: str, first_column: str) -> Table:
    """Read back the printed table that begins with a column."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == [first_column])
    end = next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))
    if not set(lines[start + 1]) <= {"-", " "}:  # units
        del lines[start + 1]
        end -= 1
    return ascii_tables.read(
        lines[start:end], format="fixed_width_two_line", delimiter=" ", fill_values=("--", "0")
    )


def load(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# from_loop.py


def loop_of_readme() -> str:
    """Return the code block of README.rst that has the loop, without its indentation."""
    blocks = (ROOT / "README.rst").read_text().split(".. code-block:: python\n\n")[1:]
    (loop,) = (block for block in blocks if "for name in files:" in block)
    lines = loop.split("\n\n")[0].splitlines()
    return "\n".join(line.removeprefix("    ") for line in lines)


def test_from_loop_has_the_loop_of_the_readme() -> None:
    assert loop_of_readme() in (EXAMPLES / "from_loop.py").read_text()


def test_from_loop_writes_the_same_in_all_three_ways(tmp_path: Path) -> None:
    text = run_well(EXAMPLES / "from_loop.py", "--output", tmp_path / "out", cwd=tmp_path)

    assert text.splitlines()[-1].startswith("All three agree")
    for number in range(12):
        name = f"{number:02d}.npy"
        image = np.load(tmp_path / "out" / "raw" / name) / np.linspace(0.9, 1.1, 512)
        for way in ("reduced", "by_methods", "by_lists"):
            written = np.load(tmp_path / "out" / way / name)
            np.testing.assert_array_equal(written, image - np.median(image))


def test_from_loop_writes_into_the_folder_named_after_it(tmp_path: Path) -> None:
    run_well(EXAMPLES / "from_loop.py", cwd=tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["from_loop-output"]


def test_loop_that_is_fed_learns_what_a_plain_one_does(tmp_path: Path) -> None:
    text = run_well(EXAMPLES / "feed_a_loop.py", "--images", "250", cwd=tmp_path)

    epochs = text.splitlines()[:2]
    assert [line.partition(",")[0] for line in epochs] == [f"epoch {i}: 5 batches" for i in (0, 1)]
    shares = [float(line.split()[4].rstrip("%")) for line in epochs]
    assert shares[1] > max(shares[0], 95)
    assert text.splitlines()[-1] == "A plain loop gives the same weights."
    assert len(list((tmp_path / "feed_a_loop-output").iterdir())) == 6


def test_from_loop_fails_where_the_ways_differ(tmp_path: Path) -> None:
    source = (EXAMPLES / "from_loop.py").read_text()
    spoilt = source.replace("return data / flat", "return data / flat + 1", 1)
    assert spoilt != source
    script = tmp_path / "spoilt.py"
    script.write_text(spoilt)

    done = run(script, cwd=tmp_path)

    assert (done.returncode, done.stderr.strip()) == (1, "They differ.")


# long_recording.py


@needs("scipy")
def test_long_recording_is_equal_to_scipy_within_its_memory(tmp_path: Path) -> None:
    for _ in range(2):  # the second time, the recording is there
        text = run_well(EXAMPLES / "long_recording.py", "--size", "60 MB", cwd=tmp_path)

        assert text.splitlines()[-1] == "Equal, and within memory."
    folder = tmp_path / "long_recording-output"
    assert sorted(path.name for path in folder.iterdir()) == ["low.npy", "recording.npy"]
    recording = np.load(folder / "recording.npy", mmap_mode="r")
    low = np.load(folder / "low.npy", mmap_mode="r")
    assert recording.shape == (117187, 256)
    assert low.shape == (3907, 256)
    time = np.arange(3907) / 1000 - 120 / 30_000  # a FIR filter delays by half its length
    wave = 1000 * np.sin(2 * np.pi * 8 * time)
    assert np.abs(low[100:].mean(axis=1) - wave[100:]).max() < 20


@needs("scipy")
@pytest.mark.skipif(sys.platform != "linux", reason="shared pages are known on Linux alone")
def test_long_recording_counts_only_what_the_worker_does_not_share(tmp_path: Path) -> None:
    """The worker is forked from a script with scipy, which alone takes more than this."""
    text = run_well(
        EXAMPLES / "long_recording.py", "--size", "40 MB", "--memory", "50 MB", cwd=tmp_path
    )

    used, total = re.search("memory: (.*) of 50 MB; with .*: (.*)", text).groups()
    assert parse_bytes(used) < 50_000_000 < parse_bytes(total)
    assert text.splitlines()[-1] == "Equal, and within memory."


@needs("scipy")
def test_long_recording_fails_where_it_differs_from_scipy(tmp_path: Path) -> None:
    source = (EXAMPLES / "long_recording.py").read_text()
    spoilt = source.replace("fir(TAPS, every", "fir(TAPS * 1.001, every", 1)
    assert spoilt != source
    script = tmp_path / "spoilt.py"
    script.write_text(spoilt)

    done = run(script, "--size", "40 MB", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1] == "It differs, or needed more memory."


# fibonacci_loop.py


@pytest.mark.process
@pytest.mark.parametrize("how", [(), ("--threads",)], ids=["processes", "threads"])
def test_fibonacci_loop_ends_at_987(how: tuple[str, ...], tmp_path: Path) -> None:
    drawing = tmp_path / "loop.svg"

    text = run_well(EXAMPLES / "fibonacci_loop.py", *how, "--svg", drawing, cwd=tmp_path)

    expected = [1, 1]
    while expected[-1] < 987:
        expected.append(expected[-2] + expected[-1])
    assert " ".join(map(str, expected)) in text.splitlines()
    assert "until --current (from 1)--> add" in text
    assert drawing.read_text().startswith("<svg")


# What those that need data and packages have in common

ALL = pytest.mark.parametrize(
    "name",
    [
        pytest.param("kast_reduction", marks=needs_ccdproc, id="kast"),
        pytest.param("m13_sources", marks=needs_photutils, id="m13"),
        pytest.param("strain", marks=needs_streaming, id="strain"),
    ],
)


@ALL
def test_example_without_data_beside_the_clone_says_so_and_ends_well(
    name: str, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    (clone / "examples").mkdir(parents=True)
    script = shutil.copy(EXAMPLES / f"{name}.py", clone / "examples")

    text = run_well(script, cwd=clone)

    assert text.startswith(f"There is no {tmp_path / 'shared' / 'data'}")
    assert [path.name for path in clone.iterdir()] == ["examples"]


@ALL
def test_example_fails_on_a_folder_that_is_not_there(name: str, tmp_path: Path) -> None:
    done = run(EXAMPLES / f"{name}.py", "nowhere", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stdout.startswith("There is no nowhere")


@pytest.mark.parametrize("name", ["kast_reduction", "m13_sources"])
def test_example_without_its_packages_says_what_to_install(name: str, tmp_path: Path) -> None:
    for package in ("astroscrappy", "ccdproc", "photutils"):
        text = f"raise ImportError('hidden', name={package!r})\n"
        (tmp_path / f"{package}.py").write_text(text)

    done = run(EXAMPLES / f"{name}.py", cwd=tmp_path, path=tmp_path)

    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.endswith("python -m pip install '.[ccd]'")


# kast_reduction.py

AMPLIFIERS = [(slice(0, 1024), slice(2048, 2080)), (slice(1024, 2048), slice(2080, 2112))]


GAIN, READ_NOISE = 1.2, 3.3  # electrons for each adu, electrons: as the example says


def loop_over_kast(bias_names: list[Path], flat_names: list[Path], names: list[Path]) -> list:
    """Reduce frames one after the other; each gives its image, noise and cosmic-ray mask."""
    from astroscrappy import detect_cosmics

    def read(name: Path) -> np.ndarray:
        raw = fits.getdata(name).astype(float)
        for pixels, overscan in AMPLIFIERS:
            raw[:, pixels] -= raw[:, overscan].mean()
        return raw[:, :2048]

    biases = [read(name) for name in bias_names]
    bias = np.mean(biases, axis=0)
    light = np.median([read(name) - bias for name in flat_names], axis=0)
    response = light / np.median(light, axis=0)
    response[response <= 0.8] = 1
    reduced = []
    for name in names:
        raw = read(name)
        image = (raw - bias) / response
        variance = raw.clip(0) / GAIN + (READ_NOISE / GAIN) ** 2 + np.var(biases, axis=0) / 3
        hit = None
        if fits.getval(name, "EXPTIME") > 300:
            options = {"sigclip": 5, "readnoise": READ_NOISE, "gain": GAIN}
            hit, image = detect_cosmics(image.astype(np.float32), **options)
        reduced.append((image, np.sqrt(variance) / response, hit))
    return reduced


@needs_ccdproc
@needs_data(KAST)
def test_kast_frames_are_reduced_as_by_a_plain_loop(tmp_path: Path) -> None:
    text = run_well(EXAMPLES / "kast_reduction.py", KAST, "--output", "out", cwd=tmp_path)

    assert "   3 bias  350 x 2112\n   3 flat  350 x 2112\n" in text
    table = printed_table(text, "in_name")
    assert list(table["OBJECT"]) == ["Arcs", "Feige 66", "J1217p3905"]
    assert list(table["outname"]) == [f"out/{name}_red.fits" for name in ("b1", "b24", "b27")]
    expected = loop_over_kast(
        [KAST / f"b{i}.fits.gz" for i in (21, 22, 23)],
        [KAST / f"b{i}.fits.gz" for i in (11, 12, 13)],
        [Path(name) for name in table["in_name"]],
    )
    for row, (image, noise, hit) in zip(table, expected, strict=True):
        name = Path(row["in_name"]).name
        assert float(row["sky"]) == pytest.approx(np.median(image), abs=0.02)
        with fits.open(tmp_path / row["outname"]) as hdus:
            header = hdus[0].header
            assert (header["BUNIT"], header["BMPIN001"]) == ("adu", name)
            assert header["GRISM_O"] == fits.getval(KAST / name, "GRISM_O")
            np.testing.assert_allclose(hdus[0].data, image, rtol=1e-4, atol=0.02)
            np.testing.assert_allclose(hdus["UNCERT"].data, noise, rtol=1e-3)
            if hit is not None:
                assert int(row["n_cosmics"]) == hit.sum()
                np.testing.assert_array_equal(hdus["MASK"].data.astype(bool), hit)
    assert list(table["n_cosmics"].mask) == [True, True, False]  # short ones are not searched
    assert 200 < int(table["n_cosmics"][2]) < 230


@needs_ccdproc
@needs_data(KAST)
def test_cosmic_rays_are_those_known_when_only_the_bias_is_subtracted(tmp_path: Path) -> None:
    bias = np.mean([fits.getdata(KAST / f"b{i}.fits.gz") for i in (21, 22, 23)], axis=0)

    pipe = CCDMultiPipe(
        executor="serial",
        fallback_unit="adu",
        pre_process_list=subtract_bias,
        post_process_list=[remove_cosmic_rays, no_outfile],
    )
    options = {"cosmics_sigclip": 5, "read_noise": 4, "gain": 1}
    master = CCDData(bias.astype(np.float32), unit="adu")
    ((outname, meta),) = pipe.pipeline([KAST / "b27.fits.gz"], bias=master, **options)

    assert (outname, meta) == (None, {"n_cosmics": 153})


class KastNight:
    """A few rows of made frames whose truth is known."""

    n_rows = 48
    slit = slice(4, 44)
    noise = 3.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rng = np.random.default_rng(seed=1)
        shape = (self.n_rows, 2048)
        self.bias = self.rng.normal(0, 1, shape)
        self.response = self.rng.normal(1, 0.03, shape)
        self.lamp = np.linspace(2000, 20000, 2048)
        self.spectrum = np.zeros(shape)
        self.spectrum[self.slit] = 50
        self.spectrum[22:26] += 400
        self.rays = self.rng.permutation(31 * 200)[:25]
        self.rays = (9 + self.rays % 12, 5 + 10 * (self.rays // 31))  # apart, off the spectrum

    def write(self, name: str, what: str, exptime: float, light: np.ndarray | float) -> None:
        image = np.zeros((self.n_rows, 2112))
        image[:, :2048] = self.bias + light * np.ones((self.n_rows, 2048))
        image += self.rng.normal(0, self.noise, image.shape)
        levels = self.rng.normal((945, 967), 4)  # drifting from frame to frame
        for level, amplifier in zip(levels, AMPLIFIERS, strict=True):
            for columns in amplifier:
                image[:, columns] += level
        hdu = fits.PrimaryHDU(np.round(image).astype(np.uint16))
        hdu.header["OBJECT"] = what
        hdu.header["EXPTIME"] = exptime
        hdu.header["DATASEC"] = f"[1:2048,1:{self.n_rows}]"
        hdu.header.update(COVER=32, AMPSROW=2)
        hdu.writeto(self.folder / name)

    def lit(self) -> np.ndarray:
        """Return what the lamp gives."""
        lit = np.zeros_like(self.response)
        lit[self.slit] = self.lamp * self.response[self.slit]
        return lit

    def truth(self) -> np.ndarray:
        """Return the target's light, each column as seen by its median pixel."""
        return self.spectrum * np.median(self.lit(), axis=0) / self.lamp

    def write_all(self) -> None:
        lit = self.lit()
        hits = np.zeros_like(self.response)
        hits[self.rays] = 600
        for i in range(3):
            self.write(f"bias{i}.fits.gz", "Bias", 0, 0)
            self.write(f"flat{i}.fits.gz", "Dome Flat", 15, lit)
        self.write("arc.fits", "Arcs", 30, self.spectrum * self.response + hits)
        self.write("target.fits.gz", "a target", 900, self.spectrum * self.response + hits)


@needs_ccdproc
def test_made_kast_frames_come_out_as_the_truth(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    night = KastNight(folder)
    night.write_all()
    before = sorted(folder.iterdir())

    text = run_well(EXAMPLES / "kast_reduction.py", folder, cwd=tmp_path)

    assert sorted(folder.iterdir()) == before
    table = printed_table(text, "in_name")
    assert [Path(name).name for name in table["outname"]] == ["arc_red.fits", "target_red.fits"]
    with fits.open(tmp_path / "kast_reduction-output" / "target_red.fits") as hdus:
        image, mask = hdus[0].data, hdus["MASK"].data.astype(bool)
    assert mask[night.rays].all()
    assert int(table["n_cosmics"][1]) == mask.sum() < 2 * len(night.rays[0])
    residual = (image - night.truth())[night.slit]
    # Noise of a frame and of the mean of three biases; a seeded sample of 80,000 pixels.
    assert residual.std() == pytest.approx(night.noise * np.sqrt(4 / 3), rel=0.05)
    assert abs(residual.mean()) < 0.1


@needs_ccdproc
def test_a_night_without_flats_says_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    KastNight(folder).write("bias.fits", "Bias", 0, 0)

    done = run(EXAMPLES / "kast_reduction.py", folder, cwd=tmp_path)

    assert done.returncode == 1
    assert "must have bias frames and flats" in done.stderr
    assert "Traceback" not in done.stderr


# m13_sources.py


def smooth(image: np.ndarray) -> np.ndarray:
    """Keep what is as wide as a star."""
    from scipy.ndimage import gaussian_filter

    sigma = 10 / np.sqrt(8 * np.log(2))
    return gaussian_filter(image, sigma) - gaussian_filter(image, 2 * sigma)


def drift_by_correlation(image: np.ndarray, reference: np.ndarray) -> tuple[int, int]:
    """Find the shift by which two images agree best: dx, dy."""
    product = np.fft.fft2(image) * np.conj(np.fft.fft2(reference))
    best = np.unravel_index(np.fft.ifft2(product).real.argmax(), image.shape)
    dy, dx = ((i + n // 2) % n - n // 2 for i, n in zip(best, image.shape, strict=True))
    return dx, dy


@needs_photutils
@needs_data(M13)
def test_m13_frames_give_the_figures_of_a_plain_loop(tmp_path: Path) -> None:
    from scipy.ndimage import label

    text = run_well(EXAMPLES / "m13_sources.py", M13, "--output", "out", cwd=tmp_path)

    images, bright = [], []
    table = printed_table(text, "file")
    for row, name in zip(table, sorted(M13.glob("*.fits")), strict=True):
        image = fits.getdata(name).astype(float) - 500
        clipped = sigma_clip(image, sigma=3)
        assert row["file"] == name.name
        assert row["background"] == pytest.approx(np.ma.median(clipped), abs=0.1)
        assert row["noise"] == pytest.approx(clipped.std(), abs=0.1)
        peaks = smooth(image - np.ma.median(clipped))
        noise = sigma_clip(peaks, sigma=3).std()
        assert row["stars"] == label(peaks > 5 * noise)[1]
        images.append(image)
        bright.append(np.where(peaks > 4 * noise, peaks, 0))
        dx, dy = drift_by_correlation(bright[-1], bright[0])
        assert (row["dx"], row["dy"]) == (pytest.approx(dx, abs=2), pytest.approx(dy, abs=2))

    stars = Table.read(tmp_path / "out" / "stars.ecsv")
    assert len(stars) > 20
    assert printed_table(text, "x")["x"][0] == pytest.approx(stars["x"][0], abs=0.1)
    # The brightest star outside the cluster, measured by hand.
    star = stars[np.hypot(stars["x"] - 1200, stars["y"] - 467) < 3][0]
    fluxes = [
        flux_by_hand(image, star["x"] + row["dx"], star["y"] + row["dy"])
        for image, row in zip(images, table, strict=True)
    ]
    assert star["frames"] == 5
    assert star["flux"] == pytest.approx(np.mean(fluxes), rel=0.05)


def flux_by_hand(image: np.ndarray, x: float, y: float) -> float:
    rows, columns = np.indices(image.shape)
    distance = np.hypot(columns - x, rows - y)
    around = np.median(image[(distance >= 12) & (distance < 18)])
    return float((image[distance < 8] - around).sum())


def write_cluster(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write four frames, one of them clouded; return positions, drifts and fluxes."""
    rng = np.random.default_rng(seed=2)
    xy = np.array([(x, y) for x in (50, 110, 170, 230) for y in (60, 120, 190)], dtype=float)
    xy += rng.uniform(-15, 15, xy.shape)
    fluxes = rng.uniform(20_000, 60_000, len(xy))
    drifts = np.array([(0, 0), (-9.5, 3.0), (14.0, -6.5)])
    sigma = 10 / np.sqrt(8 * np.log(2))
    rows, columns = np.indices((250, 280))
    for number, (dx, dy) in enumerate(drifts):
        image = rng.normal(520, 5, rows.shape)
        for (x, y), flux in zip(xy, fluxes, strict=True):
            distance = np.hypot(columns - x - dx, rows - y - dy)
            image += flux / (2 * np.pi * sigma**2) * np.exp(-(distance**2) / (2 * sigma**2))
        write_frame(folder / f"frame{number}.fits", image)
    write_frame(folder / "frame3.fits", rng.normal(530, 5, rows.shape))
    return xy, drifts, fluxes


def write_frame(name: Path, image: np.ndarray) -> None:
    hdu = fits.PrimaryHDU(np.round(image).astype(np.uint16))
    hdu.header["PEDESTAL"] = -500
    hdu.writeto(name)


@needs_photutils
def test_made_stars_are_found_where_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    xy, drifts, fluxes = write_cluster(folder)

    text = run_well(EXAMPLES / "m13_sources.py", folder, cwd=tmp_path)

    assert text.startswith("3 of 4 frames")
    table = printed_table(text, "file")
    np.testing.assert_allclose(table["background"], 20, atol=0.6)
    np.testing.assert_allclose(np.transpose([table["dx"], table["dy"]]), drifts, atol=0.3)
    stars = Table.read(tmp_path / "m13_sources-output" / "stars.ecsv")
    assert len(stars) == len(xy)
    for star in stars:
        distance = np.hypot(*(xy - [star["x"], star["y"]]).T)
        assert distance.min() < 0.5
        # A Gaussian has 0.83 of its flux within 0.8 of its full width at half maximum.
        assert star["flux"] == pytest.approx(0.83 * fluxes[distance.argmin()], rel=0.05)


@needs_photutils
def test_frames_without_a_star_end_in_failure(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    write_frame(folder / "cloud.fits", np.random.default_rng(3).normal(520, 5, (60, 60)))

    done = run(EXAMPLES / "m13_sources.py", folder, cwd=tmp_path)

    assert done.returncode == 1
    assert done.stdout.startswith("0 of 1 frames")


# strain.py


@needs_streaming
@needs_data(STRAIN)
@pytest.mark.parametrize("seconds", ["1", "0.1234", "100"], ids=["1", "odd", "all"])
def test_strain_filtered_in_chunks_is_that_filtered_in_memory(seconds: str, tmp_path: Path) -> None:
    import h5py
    from scipy import signal

    text = run_well(
        *(EXAMPLES / "strain.py", STRAIN, "--output", "out", "--seconds", seconds), cwd=tmp_path
    )

    table = printed_table(text, "detector")
    assert list(table["detector"]) == ["H1", "L1"]
    assert list(table["samples"]) == [32768, 32768]
    assert list(table["differs by"]) == [0, 0]
    assert "to the last bit" in text
    band = signal.butter(4, [35, 350], "bandpass", fs=4096, output="sos")
    for name in sorted(STRAIN.glob("*.hdf5")):
        with h5py.File(name) as file:
            strain, attributes = file["strain/Strain"][:], dict(file["strain/Strain"].attrs)
        with h5py.File(tmp_path / "out" / f"{name.stem}_35-350Hz.hdf5") as file:
            filtered = file["strain/Strain"]
            np.testing.assert_array_equal(filtered[:], signal.sosfilt(band, strain)[::4])
            attributes |= {"Npoints": 32768, "Xspacing": 1 / 1024}
            assert dict(filtered.attrs) == attributes
            assert filtered.compression == "gzip"


@needs_streaming
def test_strain_that_differs_ends_in_failure(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["strain/Strain"] = np.random.default_rng(1).normal(size=20_000)
        file["meta/Detector"] = b"X1"
    assert "last bit" in run_well(EXAMPLES / "strain.py", tmp_path, cwd=tmp_path)
    source = (EXAMPLES / "strain.py").read_text()
    spoilt = source.replace("run_steps(chunks, steps)", "run_steps(chunks, steps, abs)")
    assert spoilt != source
    (tmp_path / "spoilt.py").write_text(spoilt)

    done = run(tmp_path / "spoilt.py", tmp_path, "--output", "other", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (1, "The result in chunks differs from the whole.\n")


@pytest.mark.parametrize("package", ["scipy", "h5py"])
def test_strain_without_its_packages_says_what_to_install(package: str, tmp_path: Path) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ImportError('hidden', name={package!r})\n")

    done = run(EXAMPLES / "strain.py", cwd=tmp_path, path=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith("python -m pip install '.[streaming]'")
