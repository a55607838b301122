"""Filter and decimate a recording that is larger than memory, chunk by chunk.

The script makes a recording of 4 GB, with 256 channels at 30 kHz, as from a neural probe. The
pipeline applies a low-pass FIR filter and keeps every 30th sample, which gives 1 kHz. The worker
needs no more than 300 MB, however long the recording is. This does not count what it shares with
the script, such as the modules that were imported. The script then compares a piece from the middle
with the result of scipy.

If the script is interrupted or killed, run it again: it continues in the middle of the recording.

It needs scipy. Run it::

    python examples/long_recording.py [--output FOLDER] [--size "4 GB"] [--memory "300 MB"]
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from scipy import signal

from bigpipe.budget import format_bytes, parse_bytes
from bigpipe.streaming import ChunkedMultiPipe, fir, read_chunks, write_chunks

CHANNELS = 256
RATE = 30_000  # samples per second
EVERY = 30
TAPS = signal.firwin(241, 400, fs=RATE)  # a low-pass at 400 Hz


class LowPass(ChunkedMultiPipe):
    data_process = fir(TAPS, every=EVERY)


def loudest(chunk, bmp_meta=None, **kwargs):
    """Keep the largest amplitude of each channel so far."""
    so_far = bmp_meta.get("amplitude", np.zeros(CHANNELS))
    bmp_meta["amplitude"] = np.maximum(so_far, np.abs(chunk).max(axis=0, initial=0))
    return chunk


def make_recording(name, n_bytes):
    """Write a slow wave plus noise that differs from channel to channel."""
    n_samples = max(2 * RATE, n_bytes // (2 * CHANNELS))
    if Path(name).exists() and read_chunks(name).shape == (n_samples, CHANNELS):
        return n_samples
    rng = np.random.default_rng(seed=1)
    noise = rng.normal(0, 200, RATE + 50 * CHANNELS).astype("i2")

    def seconds():
        for first in range(0, n_samples, RATE):
            n = min(RATE, n_samples - first)
            time = np.arange(first, first + n) / RATE
            wave = (1000 * np.sin(2 * np.pi * 8 * time)).astype("i2")
            begin = np.roll(np.arange(CHANNELS) * 50, first // RATE)
            yield np.stack([noise[i : i + n] for i in begin], axis=1) + wave[:, np.newaxis]

    write_chunks(name, seconds())
    return n_samples


def compare(name, outname, n_samples):
    """Return the largest difference from scipy over one second in the middle."""
    first = n_samples // 2 // EVERY * EVERY
    before = min(first, len(TAPS) // EVERY * EVERY + EVERY)
    [piece] = read_chunks(name, n=RATE, start=first - before, stop=first - before + RATE)
    wanted = signal.lfilter(TAPS, 1, piece.astype(float), axis=0)[before::EVERY]
    start = first // EVERY
    [ours] = read_chunks(outname, n=len(wanted), start=start, stop=start + len(wanted))
    return np.abs(ours - wanted).max()


def main():
    parser = argparse.ArgumentParser(description="Filter a recording that is larger than memory.")
    parser.add_argument("--output", default="long_recording-output", help="default: ./%(default)s")
    parser.add_argument("--size", default="4 GB", help="of the recording; default: %(default)s")
    parser.add_argument("--memory", default="300 MB", help="of the worker; default: %(default)s")
    arguments = parser.parse_args()
    Path(arguments.output).mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.output)

    n_samples = make_recording("recording.npy", parse_bytes(arguments.size))
    size = format_bytes(os.path.getsize("recording.npy"))
    print(f"recording.npy: {size}, {CHANNELS} channels, {n_samples / RATE:.1f} s")

    pout = LowPass(
        post_process_list=loudest,
        outname="low.npy",
        mem_available=arguments.memory,
        num_processes=1,
        executor="processes",
        checkpoint=10,
    ).pipeline(["recording.npy"])

    [result] = pout.results
    print(f"low.npy: {read_chunks(result.outname).shape}, in {pout.elapsed_s:.1f} s")
    print(f"loudest channel: {result.meta['amplitude'].max():.1f}")
    used, total = format_bytes(pout.memory.peak), format_bytes(result.peak_rss)
    print(f"memory: {used} of {arguments.memory}; with what it shares with this script: {total}")
    difference = compare("recording.npy", result.outname, n_samples)
    print(f"largest difference from scipy: {difference:.1e}")
    is_good = difference < 1e-9 and pout.memory.peak <= pout.memory.budget
    print("Equal, and within memory." if is_good else "It differs, or needed more memory.")
    return not is_good


if __name__ == "__main__":
    sys.exit(main())
