"""How far reduced frames are from the simulated truth.

Owns the comparison, itself a pipeline that writes nothing, and its summary.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from bigpipe.demo.frames import Bad, Frame, read_reduced
from bigpipe.demo.photometry import EDGE, aperture_errors, aperture_sums
from bigpipe.demo.statistics import Image, robust_noise
from bigpipe.pipeline import BigMultiPipe
from bigpipe.steps import no_outfile

__all__ = ["Agreement", "ComparePipe", "agreement_of"]

SKY_TOLERANCE = 1.05  # times the median: brighter pixels hold light of a star
MIN_SIGNAL_TO_NOISE = 20.0  # of the stars whose flux is compared
SIGNIFICANT = 5.0  # sigma: charge of a cosmic ray above which a pixel should be flagged
NOTICEABLE = 1.0  # sigma: charge above which flagging a pixel was right


@dataclass(frozen=True)
class Agreement:
    """Reduced frames against the truth, over all frames compared."""

    n_frames: int
    """Frames compared."""
    sky_median: float
    """Median of (reduced - truth) / uncertainty over sky pixels."""
    sky_rms: float
    """Root mean square of the same."""
    n_sky: int
    """Sky pixels compared."""
    n_stars: int
    """Measurements of stars with a signal at least 20 times the noise."""
    star_ratio: float
    """Median of measured over true light in an aperture; NaN without stars."""
    star_scatter: float
    """Scatter of that ratio, robust."""
    star_sigma: float
    """Scatter of (measured - true) / uncertainty, robust."""
    n_cosmic: int
    """Pixels in which a cosmic ray left more than 5 sigma."""
    cosmic_completeness: float
    """Fraction of those that were flagged; NaN if there are none."""
    n_flagged: int
    """Pixels that were flagged."""
    cosmic_purity: float
    """Fraction of those in which a cosmic ray left more than 1 sigma; NaN if there are none."""


class ComparePipe(BigMultiPipe):
    """Compare reduced frames with the truth; writes nothing.

    Parameters
    ----------
    **kwargs
        Options of `BigMultiPipe`, and the keyword ``truth`` (dict): for each reduced file, the
        name of the file with its truth.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(post_process_list=[compare, no_outfile], **kwargs)

    def file_read(self, in_name: Any, truth: Any = None, **kwargs: Any) -> Any:
        """Read the reduced frame and its truth."""
        with fits.open(truth[os.fspath(in_name)], memmap=False) as hdus:
            light = hdus[0].data.astype(np.float32) * np.float32(hdus[0].header["EXPTIME"])
            stars, hits = np.array(hdus["STARS"].data), np.array(hdus["COSMIC"].data)
        return read_reduced(in_name), light, stars, hits


def compare(data: Any, bmp_meta: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    """Add the comparison of one frame to the metadata."""
    frame, light, stars, hits = data
    if bmp_meta is not None:
        bmp_meta.update(_compare_sky(frame, light))
        bmp_meta.update(_compare_stars(frame, light, stars))
        bmp_meta.update(_compare_cosmic_rays(frame, hits))
    return data


def _compare_sky(frame: Frame, light: Image) -> dict[str, Any]:
    assert frame.variance is not None
    sky = (frame.mask == 0) & (light < SKY_TOLERANCE * np.median(light))
    offsets = (frame.data[sky] - light[sky]) / np.sqrt(frame.variance[sky])
    if offsets.size == 0:
        return {"n_sky": 0, "sky_median": 0.0, "sky_sum2": 0.0}
    return {
        "n_sky": offsets.size,
        "sky_median": float(np.median(offsets)),
        "sky_sum2": float(np.sum(np.square(offsets, dtype=np.float64))),
    }


def _compare_stars(frame: Frame, light: Image, stars: NDArray[Any]) -> dict[str, Any]:
    assert frame.variance is not None
    rows, columns = stars["row"], stars["column"]
    inside = (rows > EDGE) & (rows < frame.shape[0] - 1 - EDGE)
    inside &= (columns > EDGE) & (columns < frame.shape[1] - 1 - EDGE)
    at = (rows[inside], columns[inside])
    saturated = aperture_sums(frame.marked(Bad.SATURATED), *at)[0] > 0
    true = aperture_sums(light, *at)[1]
    measured = aperture_sums(frame.data, *at)[1]
    errors = aperture_errors(frame.variance, *at)
    used = ~saturated & (true > MIN_SIGNAL_TO_NOISE * errors)
    return {
        "star_ratios": (measured[used] / true[used]).tolist(),
        "star_offsets": ((measured[used] - true[used]) / errors[used]).tolist(),
    }


def _compare_cosmic_rays(frame: Frame, hits: NDArray[Any]) -> dict[str, Any]:
    assert frame.variance is not None
    electrons = np.zeros(frame.shape, dtype=np.float32)
    electrons[hits["row"], hits["column"]] = hits["electrons"]
    sigma = np.sqrt(frame.variance)
    known = ~frame.marked(Bad.SATURATED | Bad.UNUSABLE)
    flagged = known & frame.marked(Bad.COSMIC_RAY)
    significant = known & (electrons > SIGNIFICANT * sigma)
    noticeable = electrons > NOTICEABLE * sigma
    return {
        "n_significant": int(significant.sum()),
        "n_found": int((significant & flagged).sum()),
        "n_flagged": int(flagged.sum()),
        "n_rightly": int((flagged & noticeable).sum()),
    }


def agreement_of(metas: Sequence[dict[str, Any]]) -> Agreement:
    """Summarise what `compare` found in all frames, of which there must be at least one."""
    n_sky, n_significant, n_flagged = (
        sum(meta[key] for meta in metas) for key in ("n_sky", "n_significant", "n_flagged")
    )
    ratios = np.concatenate([meta["star_ratios"] for meta in metas])
    offsets = np.concatenate([meta["star_offsets"] for meta in metas])
    return Agreement(
        n_frames=len(metas),
        sky_median=float(np.median([meta["sky_median"] for meta in metas])),
        sky_rms=float(np.sqrt(_ratio(sum(meta["sky_sum2"] for meta in metas), n_sky))),
        n_sky=n_sky,
        n_stars=ratios.size,
        star_ratio=float(np.median(ratios)) if ratios.size else float("nan"),
        star_scatter=robust_noise(ratios),
        star_sigma=robust_noise(offsets),
        n_cosmic=n_significant,
        cosmic_completeness=_ratio(sum(meta["n_found"] for meta in metas), n_significant),
        n_flagged=n_flagged,
        cosmic_purity=_ratio(sum(meta["n_rightly"] for meta in metas), n_flagged),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
