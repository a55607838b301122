"""Feed a training loop from a pipeline: slices of files, batches, several epochs.

Each file is a stack of small noisy images, some of which show a star. A worker reads a slice of a
stack, subtracts the sky and flattens the images. The loop receives batches of slices, in a
different order in each epoch, and fits a logistic regression in numpy. The images reach the loop
through shared memory. The same workers, with the model of the sky that they made when they started,
serve all epochs. The script then trains in a plain ``for`` loop, and checks that both ways give the
same weights.

It needs no data. Run it::

    python examples/feed_a_loop.py [--output FOLDER] [--images NUMBER]
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from bigpipe import BigMultiPipe

parser = argparse.ArgumentParser(description="Train on data that a pipeline prepares.")
parser.add_argument("--output", default="feed_a_loop-output", help="default: ./%(default)s")
parser.add_argument("--images", type=int, default=2000, help="in each file (%(default)s)")
arguments = parser.parse_args()

SIZE = 24  # pixels along each side of an image
N_FILES, N_EPOCHS, SLICE, BATCH = 6, 2, 100, 4

folder = Path(arguments.output)
folder.mkdir(parents=True, exist_ok=True)


# The data: stacks of images, and which of the images show a star

rng = np.random.default_rng(seed=42)
rows, columns = np.indices((SIZE, SIZE)) - SIZE / 2
star = 30 * np.exp(-(rows**2 + columns**2) / 18)
labels = {}
for number in range(N_FILES):
    name = str(folder / f"stack-{number}.npy")
    labels[name] = rng.integers(0, 2, arguments.images)
    images = rng.poisson(200 + 2 * rows, (arguments.images, SIZE, SIZE)).astype(np.float32)
    np.save(name, images + labels[name][:, None, None] * star.astype(np.float32))


# The pipeline: what the workers do


class Prepare(BigMultiPipe):
    def worker_init(self, **kwargs):
        self.sky = (200 + 2 * rows).astype(np.float32)

    def file_read(self, in_name, start=0, end=None, **kwargs):
        stack = np.load(in_name, mmap_mode="r")[start:end]  # reads only this slice
        return np.array(stack), labels[in_name][start:end]

    def data_process(self, data, **kwargs):
        images, is_star = data
        flat = (images - self.sky).reshape(len(images), -1) / 20
        return np.pad(flat, ((0, 0), (0, 1)), constant_values=-10), is_star


# The loop: what the caller does


def together(parts):
    """Join several slices into one batch."""
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def step(weights, images, is_star):
    """Take one gradient step; return the share of right guesses before it."""
    guessed = 1 / (1 + np.exp(-(images @ weights)))
    weights -= 0.02 * images.T @ (guessed - is_star) / len(images)
    return np.mean((guessed > 0.5) == is_star)


slices = [
    (name, start, min(start + SLICE, arguments.images))
    for name in labels
    for start in range(0, arguments.images, SLICE)
]
orders = [np.random.default_rng(epoch).permutation(len(slices)) for epoch in range(N_EPOCHS)]

fed = np.zeros(SIZE * SIZE + 1)
began_at = time.perf_counter()
with Prepare().stream(slices, batch_size=BATCH, collate=together) as stream:
    for epoch, order in enumerate(orders):
        shares = [step(fed, *batch) for batch in stream.epoch([slices[i] for i in order])]
        print(f"epoch {epoch}: {len(shares)} batches, {np.mean(shares):.1%} guessed right")
seconds = time.perf_counter() - began_at
n_images = N_EPOCHS * N_FILES * arguments.images
print(f"{n_images} images in {seconds:.1f} s, including the start of the workers")


# The same, in a plain loop

pipe = Prepare()
pipe.worker_init()
plain = np.zeros(SIZE * SIZE + 1)
for order in orders:
    for first in range(0, len(order), BATCH):
        parts = [slices[i] for i in order[first : first + BATCH]]
        step(plain, *together([pipe.data_process(pipe.file_read(*part)) for part in parts]))

if not np.array_equal(fed, plain):
    sys.exit("A plain loop gives other weights.")
print("A plain loop gives the same weights.")
