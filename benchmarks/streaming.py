"""Arrays sent between processes, and stages side by side, measured on this machine.

Transport: arrays sent through `bigpipe.sharing.transport`, compared with a copy in memory and a
`multiprocessing.Queue`, which pickles. The copy has the same pattern: one source, and four
destinations in turn, which do not fit into a cache. Chain: three stages side by side, compared with
the slowest of them alone; each waits, as for a disk or another machine, or computes, which takes a
core for each. Copy: a ``.npy`` file read and written chunk by chunk, compared with ``cp``, in
memory (``/dev/shm`` if it exists), so that no disk hides a difference. All ways take turns. Ratios
are taken within a round, and their median is shown. Run it::

    python benchmarks/streaming.py [--quick] [--work wait|cpu] [--json FILE]
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bigpipe.sharing.transport import Receiver, Sender, open_link
from bigpipe.streaming import Stages, read_chunks, write_chunks

MB = 1_000_000
N_SEGMENTS = 4  # destinations of a copy
SIZES = {"smoke": [1], "quick": [8, 64], "full": [1, 8, 64, 256]}  # MB of an array
VOLUME = {"smoke": 20, "quick": 1000, "full": 4000}  # MB sent in a round, by each way
ROUNDS = {"smoke": 1, "quick": 3, "full": 7}
CHAIN = {"smoke": (3, 0.01), "quick": (60, 0.05), "full": (200, 0.05)}  # elements, seconds each
COPY = {"smoke": 8, "quick": 400, "full": 1600}  # MB of a file
CHUNK = 16 * MB
SHAPE = (1000, 1000)  # float64: 8 MB


def seconds_of_memcpy(size, n):
    source = np.ones(size, np.uint8)
    destinations = [np.ones(size, np.uint8) for _ in range(N_SEGMENTS)]
    began = time.perf_counter()
    for number in range(n):
        np.copyto(destinations[number % N_SEGMENTS], source)
    return (time.perf_counter() - began) / n


def feed_link(sending, size, n):
    sender = Sender(sending)
    array = np.ones(size, np.uint8)
    for _ in range(n + N_SEGMENTS):
        sender.send(array)
    sender.close()


def seconds_of_link(size, n):
    sending, receiving = open_link()
    pid = os.fork()
    if pid == 0:
        os.close(receiving)
        feed_link(sending, size, n)
        os._exit(0)
    os.close(sending)
    receiver = Receiver(receiving)
    for _ in range(N_SEGMENTS):
        receiver.receive()  # the first fill new memory
    began = time.perf_counter()
    for _ in range(n):
        receiver.receive()
    seconds = (time.perf_counter() - began) / n
    receiver.close()
    os.waitpid(pid, 0)
    return seconds


def feed_queue(queue, size, n):
    array = np.ones(size, np.uint8)
    for _ in range(n + 1):
        queue.put(array)


def seconds_of_queue(size, n):
    context = multiprocessing.get_context("fork")
    queue = context.Queue(2)
    process = context.Process(target=feed_queue, args=(queue, size, n))
    process.start()
    queue.get()
    began = time.perf_counter()
    for _ in range(n):
        queue.get()
    seconds = (time.perf_counter() - began) / n
    process.join()
    return seconds


WAYS = {"memcpy": seconds_of_memcpy, "bigpipe": seconds_of_link, "queue": seconds_of_queue}


def measure_transport(scale):
    """Return, for each size, the GB/s of each way, and the ratios within a round."""
    rows = []
    for megabytes in SIZES[scale]:
        rounds = []
        for _ in range(ROUNDS[scale]):
            taken = {}
            for way, seconds_of in WAYS.items():
                volume = VOLUME[scale] / (10 if way == "queue" else 1)
                n = max(3, int(volume / megabytes))
                taken[way] = seconds_of(megabytes * MB, n)
            rounds.append(taken)
        rows.append(
            {
                "megabytes": megabytes,
                "gb_per_s": {
                    way: megabytes / 1000 / statistics.median(each[way] for each in rounds)
                    for way in WAYS
                },
                "of_memcpy": statistics.median(x["memcpy"] / x["bigpipe"] for x in rounds),
                "times_queue": statistics.median(x["queue"] / x["bigpipe"] for x in rounds),
            }
        )
    return rows


class Work:
    """A step that takes its time over an array, and gives it on."""

    def __init__(self, seconds, how):
        self.seconds = seconds
        self.how = how

    def __call__(self, array):
        if self.how == "wait":
            time.sleep(self.seconds)
        else:
            began = time.process_time()
            while time.process_time() - began < self.seconds:
                pass
        return array


class Source(Work):
    """Makes arrays, and takes its time over it."""

    def __init__(self, n, seconds, how):
        super().__init__(seconds, how)
        self.n = n

    def __iter__(self):
        array = np.ones(SHAPE)
        for _ in range(self.n):
            yield self(array)


def measure_chain(scale, how):
    """Return the seconds of the slowest stage alone, and of three stages side by side."""
    n, slowest = CHAIN[scale]
    rounds = []
    for _ in range(ROUNDS[scale]):
        began = time.perf_counter()
        for array in Source(n, 0, how):
            Work(slowest, how)(array)
        alone = time.perf_counter() - began
        stages = [Source(n, slowest / 2, how), Work(slowest, how), Work(slowest / 2, how)]
        began = time.perf_counter()
        report = Stages([*stages, lambda array: None]).run()
        rounds.append((alone, time.perf_counter() - began))
    return {
        "n": n,
        "alone_s": statistics.median(alone for alone, _ in rounds),
        "chain_s": statistics.median(chain for _, chain in rounds),
        "ratio": statistics.median(chain / alone for alone, chain in rounds),
        "bottleneck": report.bottleneck,
    }


def measure_copy(scale):
    """Return the seconds in which a file is copied by `cp`, and chunk by chunk."""
    memory = Path("/dev/shm")
    rounds = []
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        name, by_cp, by_chunks = (os.path.join(folder, f"{x}.npy") for x in ("a", "cp", "chunks"))
        np.save(name, np.ones((COPY[scale] * MB // 8000, 1000)))
        for _ in range(ROUNDS[scale]):
            began = time.perf_counter()
            subprocess.run(["cp", name, by_cp], check=True)
            copied = time.perf_counter() - began
            began = time.perf_counter()
            write_chunks(by_chunks, read_chunks(name, nbytes=CHUNK))
            rounds.append((copied, time.perf_counter() - began))
            assert os.path.getsize(by_chunks) == os.path.getsize(by_cp)
            os.remove(by_cp)
            os.remove(by_chunks)
    return {
        "megabytes": COPY[scale],
        "cp_s": statistics.median(copied for copied, _ in rounds),
        "chunks_s": statistics.median(chunks for _, chunks in rounds),
        "ratio": statistics.median(chunks / copied for copied, chunks in rounds),
    }


def show(results):
    print(f"{'array':>8}{'memcpy':>10}{'bigpipe':>10}{'queue':>10}{'of memcpy':>12}{'x queue':>9}")
    for row in results["transport"]:
        speeds = "".join(f"{speed:>5.1f} GB/s" for speed in row["gb_per_s"].values())
        print(
            f"{row['megabytes']:>5} MB{speeds}{row['of_memcpy']:>12.2f}{row['times_queue']:>9.1f}"
        )
    chain = results["chain"]
    print(
        f"three stages, {chain['n']} arrays of 8 MB: {chain['chain_s']:.2f} s; the slowest alone: "
        f"{chain['alone_s']:.2f} s; ratio {chain['ratio']:.2f}"
    )
    copy = results["copy"]
    print(
        f"a file of {copy['megabytes']} MB: cp {copy['cp_s']:.2f} s; chunk by chunk "
        f"{copy['chunks_s']:.2f} s; ratio {copy['ratio']:.2f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", dest="scale", action="store_const", const="quick")
    sizes.add_argument("--scale", choices=SIZES, help="how much; the default is full")
    parser.add_argument("--work", choices=("wait", "cpu"), default="wait", help="of the stages")
    parser.add_argument("--json", help="write the figures here")
    options = parser.parse_args()
    scale = options.scale or "full"
    results = {
        "transport": measure_transport(scale),
        "chain": measure_chain(scale, options.work),
        "copy": measure_copy(scale),
    }
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
