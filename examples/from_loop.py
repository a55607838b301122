"""Turn a ``for`` loop into a pipeline, in two ways that do the same.

The loop is the one in README.rst. The first way moves its body into the methods of one class. The
second way splits it into small functions that other pipelines could share. The script checks that
all three write the same files and return the same metadata. It is a plain script, without
``if __name__ == "__main__"``.

It needs no data. Run it::

    python examples/from_loop.py [--output FOLDER]
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from bigpipe import BigMultiPipe

parser = argparse.ArgumentParser(description="A loop and two pipelines that do the same.")
parser.add_argument("--output", default="from_loop-output", help="default: ./%(default)s")
output = Path(parser.parse_args().output)
output.mkdir(parents=True, exist_ok=True)
os.chdir(output)

# The input

rng = np.random.default_rng(seed=42)
Path("raw").mkdir(exist_ok=True)
for i in range(12):
    np.save(f"raw/{i:02d}.npy", rng.poisson(1000, size=(512, 512)))

files = sorted(Path("raw").glob("*.npy"))
flat = np.linspace(0.9, 1.1, 512)

# The loop, on one core

results = []
Path("reduced").mkdir(exist_ok=True)
for name in files:
    image = np.load(name)
    image = image / flat
    meta = {"sky": float(np.median(image))}
    outname = f"reduced/{name.name}"
    np.save(outname, image - meta["sky"])
    results.append((outname, meta))


# The same, with methods only


class InMethods(BigMultiPipe):
    def file_read(self, in_name, **kwargs):
        return np.load(in_name)

    def data_process(self, data, flat=None, **kwargs):
        return data / flat

    def post_process(self, data, **kwargs):
        sky = float(np.median(data))
        return data - sky, {"sky": sky}

    def file_write(self, data, outname, **kwargs):
        np.save(outname, data)
        return outname


pipe = InMethods(outdir="by_methods", create_outdir=True, outname_append="")
by_methods = pipe.pipeline(files, flat=flat)


# The same, with lists of functions: the class only handles the file format


class Npy(BigMultiPipe):
    def file_read(self, in_name, **kwargs):
        return np.load(in_name)

    def file_write(self, data, outname, **kwargs):
        np.save(outname, data)
        return outname


def divide_by_flat(data, flat=None, **kwargs):
    return data / flat


def subtract_sky(data, bmp_meta=None, **kwargs):
    bmp_meta["sky"] = float(np.median(data))
    return data - bmp_meta["sky"]


pipe = Npy(
    outdir="by_lists",
    create_outdir=True,
    outname_append="",
    pre_process_list=divide_by_flat,
    post_process_list=subtract_sky,
)
by_lists = pipe.pipeline(files, flat=flat)

# Compare the metadata, and every byte of the files


def contents(pout):
    return [(Path(name).name, Path(name).read_bytes(), meta) for name, meta in pout]


for way, pout in {"the loop": results, "all in methods": by_methods, "in lists": by_lists}.items():
    sky = np.mean([meta["sky"] for _, meta in pout])
    print(f"{way:>14}: {len(pout)} files in {Path(pout[0][0]).parent}, mean sky {sky:.4f}")
if not contents(results) == contents(by_methods) == contents(by_lists):
    sys.exit("They differ.")
print("All three agree, in metadata and in every byte written.")
