"""How soon `dgan view` shows a page, and what memory it takes, of many images beside a few.

    python -m benchmarks.viewing

Both stores hold images of 16 x 16 pixels, so that the number of images is all that differs. *listening*: from
the start of the program to the line that says where. *first page*: from there until the page, the arrays of
all images and the pictures of the first 48 cards are answered, one after another. *turned*: the same for the
cards of a page somewhere in the middle. *memory*: the peak of the server after pages all over the store, the
count of classes included; *arrays*: what the page is sent of all images. The files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.measure import DGAN, ROOT, high_water_bytes, machine, print_table, working_folder

SIDE, NUM_CLASSES, CARDS = 16, 12, 48
PAGES = 40


@dataclass(frozen=True)
class Found:
    """What one store took."""

    listening_seconds: float
    first_page_seconds: float
    turned_seconds: float
    peak_bytes: int
    array_bytes: int


def make_store(path: Path, num_images: int) -> None:
    """A dataset of discs on a plain ground, with random scores."""
    import fstore
    from fstore import format as fmt
    from pipeline.settings.classes import default_palette

    colors = default_palette(NUM_CLASSES)
    classes = tuple(fmt.ClassInfo(i, f"class {i}", colors[i]) for i in range(NUM_CLASSES))
    writer = fstore.create_dataset(path, fmt.DatasetMeta((SIDE, SIDE), classes, 4), num_images=num_images)
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for task in writer.pending_tasks():
        num = len(writer.task_images(task))
        y, x = random.random((2, num, 1, 1)) * SIDE
        labels = (np.hypot(rows - y, columns - x) / 2).astype(np.uint8) % NUM_CLASSES
        images = (labels[..., None] * 20 + random.integers(0, 8, (num, SIDE, SIDE, 3))).astype(np.uint8)
        parts = {
            "images": images,
            "labels": labels,
            "divergence": random.random((num, SIDE, SIDE)).astype(np.float16),
            "latents": random.standard_normal((num, 4)).astype(np.float32),
            "uncertainty": random.random(num).astype(np.float32),
        }
        writer.write_task(task, parts)
    writer.close()


@contextmanager
def served(path: Path) -> Iterator[tuple[int, str, float]]:
    """The number of the program's process, its page's address, and the seconds until it said that."""
    start = time.perf_counter()
    child = subprocess.Popen(
        [*DGAN, "view", str(path), "--no-browser"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # how it was ended
        text=True,
    )
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        yield child.pid, line.split(" at ")[1].split(" (")[0], time.perf_counter() - start
    finally:
        child.terminate()
        child.wait()


def measured(path: Path, num_images: int) -> Found:
    """Ask as a browser does."""
    with ExitStack() as stack:
        process, address, listening_seconds = stack.enter_context(served(path))
        place = urlsplit(address)
        connection = stack.enter_context(closing(HTTPConnection("127.0.0.1", int(place.port or 80))))

        def asked(route: str) -> bytes:
            connection.request("GET", place.path + route)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, (route, body)
            return body

        def cards(first: int, key: str) -> None:
            for image in range(first, min(first + CARDS, num_images)):
                asked(f"image/{image}?key={key}&size=256")
                asked(f"label/{image}?key={key}&size=256")

        start = time.perf_counter()
        found = re.search(rb'"key":"([^"]+)"', asked(""))
        assert found is not None
        key = found[1].decode()
        array_bytes = len(asked(f"all?key={key}"))
        cards(0, key)
        first_page_seconds = time.perf_counter() - start
        start = time.perf_counter()
        cards(num_images // 2, key)
        turned_seconds = time.perf_counter() - start
        for first in range(0, num_images, max(1, num_images // PAGES)):
            cards(first, key)
        while (progress := json.loads(asked(f"classes?key={key}")))["done"] < progress["total"]:
            time.sleep(0.2)
        return Found(
            listening_seconds, first_page_seconds, turned_seconds, high_water_bytes(process), array_bytes
        )


def main(arguments: list[str] | None = None) -> None:
    """Make the stores, measure, print."""
    parser = argparse.ArgumentParser(description="Times the pages of `dgan view`.")
    parser.add_argument("--num", type=int, default=100_000, help="images of the large store")
    parser.add_argument("--few", type=int, default=1_000, help="images of the small one")
    parser.add_argument("--folder", type=Path, help="where the stores are made, and stay")
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    options = parser.parse_args(arguments)
    if options.quick:
        options.few, options.num = 6, 70
    rows = []
    with working_folder(options.folder) as folder:
        for num in (options.few, options.num):
            path = folder / f"view-{num}.zarr"
            if not path.exists():
                make_store(path, num)
            found = measured(path, num)
            rows.append(
                [
                    f"{num:,}",
                    f"{found.listening_seconds:.2f} s",
                    f"{found.first_page_seconds:.2f} s",
                    f"{found.turned_seconds:.2f} s",
                    f"{found.peak_bytes / 2**20:,.0f} MiB",
                    f"{found.array_bytes / 2**20:.2f} MiB",
                ]
            )
    print(machine())
    print_table("dgan view", ["images", "listening", "first page", "turned", "memory", "arrays"], rows)


if __name__ == "__main__":
    main(sys.argv[1:])
