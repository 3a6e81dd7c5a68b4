"""Training batches from a store: what is read, and how fast, beside naive ways to read the same files.

    python -m benchmarks.sampler
    python -m benchmarks.sampler --plain        # the sampler beside plain reading, and no other way

Both layouts of a random-weight generator's features. *Sampler* is one epoch of ``StratifiedChunkSampler``
for the whole ensemble, as ``dgan train`` uses it; *sequential* reads every pixel once, block after block;
*single pixels* are ``store.pixels`` calls of one random pixel each, which is what indexing
``array[image, row, column]`` costs. *In memory* is the sampler on a pyramid that was loaded before. Single
pixels of a memory-mapped ``.npy`` file, which other programs use, stand beside them. *Plain reading* is
``pread`` of the very ranges of the dense files that the sampler's epoch reads, by as many threads; *read and
unpacked* checks and decompresses them too, which is what no sampler of this format can do without.

*Drawn* counts a pixel once for each member that gets it; *used* bytes are the dense float16 bytes of the
different pixels that were drawn; *read* bytes are those of the chunks that were touched, uncompressed, or of
the memory pages.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import face_size, generators
from benchmarks.measure import (
    add_to_summary,
    drop_cached,
    machine,
    print_table,
    seconds_of,
    working_folder,
)

if TYPE_CHECKING:
    from fstore.cache import CachedPyramid
    from fstore.feature_store import FeatureStore
    from fstore.sampler import StratifiedChunkSampler

LAYOUTS = ("dense", "pyramid")
FEATURE_BYTES = 2
PAGE_BYTES = 4096
THREADS = {"dense": 4, "pyramid": 2}  # as the training stage has them on two cores
UNITS_AHEAD = {"dense": 64, "pyramid": 2}


@dataclass(frozen=True)
class Load:
    """What to draw: ``draws`` pixels for each of ``members``, or ``singles`` pixels one at a time."""

    members: int
    batch_size: int
    draws: int
    singles: int
    repeats: int


@dataclass(frozen=True)
class Cost:
    """Of one way to read: pixels drawn, bytes read, bytes used, as the module's docstring has them."""

    drawn: int
    bytes_read: int
    bytes_used: int


def make_stores(case: face_size.Case, folder: Path, num_images: int) -> None:
    """``dense.zarr`` and ``pyramid.zarr`` of the same images, unless the folder has them."""
    if all((folder / f"{layout}.zarr").exists() for layout in LAYOUTS):
        return
    generators.make_checkpoint(folder / "generator.for_g_all.pt", case.widths, case.latent_size)
    generators.make_inputs(folder, case.side, num_images=num_images, latent_size=case.latent_size)
    for layout in LAYOUTS:
        face_size.extract(case, folder, layout)


def open_store(folder: Path, layout: str) -> FeatureStore:
    """A store of features, fresh: nothing of it is checked or known yet."""
    import fstore

    store = fstore.open(folder / f"{layout}.zarr")
    assert isinstance(store, fstore.FeatureStore)
    return store


def make_sampler(store: FeatureStore | CachedPyramid, load: Load) -> StratifiedChunkSampler:
    """As the training stage makes it."""
    from fstore.sampler import StratifiedChunkSampler

    layout = store.meta.layout
    return StratifiedChunkSampler(
        store,
        batch_size=load.batch_size,
        members=load.members,
        draws_per_epoch=load.draws,
        threads=THREADS[layout],
        units_ahead=UNITS_AHEAD[layout],
    )


def read_epoch(store: FeatureStore, load: Load) -> None:
    """One epoch of batches, thrown away."""
    for _ in make_sampler(store, load).epoch(0):
        pass


def read_cached_epoch(store: FeatureStore, load: Load) -> Callable[[], None]:
    """One epoch of batches from the pyramid in memory; loading it there is not part of it."""
    from fstore.cache import CachedPyramid

    cached = CachedPyramid(store, range(len(store)))

    def epoch() -> None:
        for _ in make_sampler(cached, load).epoch(0):
            pass

    return epoch


def planned_ranges(store: FeatureStore, load: Load) -> list[tuple[str, int, int]]:
    """Of each chunk that an epoch reads from a dense store, in its order: file, offset, bytes on disk."""
    folder, array = store.location.folder, store.array("features")
    assert folder is not None
    places = [array.locate((*unit, 0)) for unit in make_sampler(store, load).plan(0).units.tolist()]
    return [(str(folder / key), offset, num_bytes) for key, offset, num_bytes in places]


def read_plainly(ranges: list[tuple[str, int, int]]) -> None:
    """These bytes and nothing else, by as many threads as the sampler has; what is read is thrown away."""

    def read(place: tuple[str, int, int]) -> None:
        file, offset, num_bytes = place
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.pread(descriptor, num_bytes, offset)
        finally:
            os.close(descriptor)

    with ThreadPoolExecutor(THREADS["dense"]) as pool:
        list(pool.map(read, ranges))


def read_chunks(store: FeatureStore, load: Load) -> None:
    """The same chunks read, checked and decompressed, by as many threads; what is read is thrown away."""
    array = store.array("features")
    units = make_sampler(store, load).plan(0).units.tolist()

    def read(unit: list[int]) -> None:
        starts = [place * side for place, side in zip((*unit, 0), array.array.chunks, strict=True)]
        stops = [start + side for start, side in zip(starts, array.array.chunks, strict=True)]
        array.read_in_thread(tuple(zip(starts, np.minimum(stops, array.array.shape).tolist(), strict=True)))

    with ThreadPoolExecutor(THREADS["dense"]) as pool:
        list(pool.map(read, units))


def measure_reading(folder: Path, load: Load) -> None:
    """The table of the dense sampler beside plain reading of the same byte ranges, cold, in turns."""
    ranges = planned_ranges(open_store(folder, "dense"), load)
    num_bytes = sum(length for *_, length in ranges)
    ways: dict[str, list[float]] = {"plain reading": [], "read and unpacked": [], "sampler": []}
    for turn in range(2 * load.repeats):
        plain = partial(read_plainly, ranges)
        unpacking = partial(read_chunks, open_store(folder, "dense"), load)
        sampling = partial(read_epoch, open_store(folder, "dense"), load)
        runs = [("plain reading", plain), ("read and unpacked", unpacking), ("sampler", sampling)]
        for name, work in runs if turn % 2 == 0 else reversed(runs):
            drop_cached(folder / "dense.zarr")
            ways[name].append(seconds_of(work))
    rows, typical = [], {}
    for name, seconds in ways.items():
        shares = [a / b for a, b in zip(ways["plain reading"], seconds, strict=True)]
        rates = sorted(num_bytes / s / 1e6 for s in seconds)
        typical[name] = f"{median(rates):,.0f}", f"{median(shares):.2f}"
        rows.append([name, typical[name][0], f"{rates[0]:,.0f} to {rates[-1]:,.0f}", typical[name][1]])
    add_to_summary(
        "the dense sampler, cold, MB a second of the disk's bytes",
        f"{typical['sampler'][0]}; unpacking alone {typical['read and unpacked'][0]}",
        f"{typical['plain reading'][0]} (plain reading)",
        f"{typical['sampler'][1]}x; {typical['read and unpacked'][1]}x",
    )
    title = f"{len(ranges)} chunks, {num_bytes / 1e6:,.0f} MB on disk, cold, {THREADS['dense']} threads"
    print_table(title, ["way", "MB/s of the disk's bytes", "range", "share of plain"], rows)


def epoch_cost(store: FeatureStore, load: Load) -> Cost:
    """From the plan, with the pixels chosen again; no features are read."""
    from fstore.format import TILE
    from fstore.plan import choose_pixels

    sampler = make_sampler(store, load)
    plan, different = sampler.plan(0), 0
    height, width = (tiles * TILE for tiles in store.unit_tiles)
    masks = store.read_masks(range(len(store)))
    for unit, draws in zip(plan.units.tolist(), plan.total, strict=True):
        image, row, column = unit
        labels = masks[image, row * height : (row + 1) * height, column * width : (column + 1) * width]
        chosen = choose_pixels(
            labels, draws, seed=0, epoch=0, unit=(image, row, column), members=load.members
        )
        different += len(np.unique(chosen))
    pixel_bytes = store.shape[3] * FEATURE_BYTES
    return Cost(
        load.members * plan.num_draws, plan.num_units * store.read_unit_bytes, different * pixel_bytes
    )


def read_all(store: FeatureStore, load: Load) -> None:
    """Every block of the dense view, in order, once."""
    from fstore.format import bands

    for image in range(len(store)):
        for first, last in bands(store.shape[1]):
            store.features[image, first:last].compute(scheduler="sync")


def whole_cost(store: FeatureStore, load: Load) -> Cost:
    """All arrays of features, all pixels."""
    num_pixels = int(np.prod(store.shape[:3]))
    return Cost(
        num_pixels, sum(array.nbytes for array in _arrays(store)), num_pixels * store.shape[3] * FEATURE_BYTES
    )


def read_singles(store: FeatureStore, load: Load) -> None:
    """Pixels at random, one call each."""
    for image, row, column in _random_pixels(store.shape, load.singles):
        store.pixels([image], [row], [column])


def singles_cost(store: FeatureStore, load: Load) -> Cost:
    """One chunk of each array a pixel; where a resize looks across a chunk's border it is more."""
    chunks = sum(int(np.prod(array.chunks)) * FEATURE_BYTES for array in _arrays(store))
    return Cost(load.singles, load.singles * chunks, load.singles * store.shape[3] * FEATURE_BYTES)


def _arrays(store: FeatureStore) -> list[Any]:
    names = [name for name in store.array_names() if name.startswith(("features", "layers/"))]
    return [store.array(name).array for name in names]


def _random_pixels(shape: tuple[int, ...], count: int) -> np.ndarray:
    """(count, 3): image, row, column."""
    return np.random.default_rng(0).integers(0, shape[:3], (count, 3))


WAYS = {
    "sampler": (read_epoch, epoch_cost),
    "sequential": (read_all, whole_cost),
    "single pixels": (read_singles, singles_cost),
}


def write_flat(store: FeatureStore, path: Path) -> None:
    """The dense features as one ``.npy`` file, written band by band."""
    from fstore.format import bands

    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=store.shape)
    for image in range(len(store)):
        for first, last in bands(store.shape[1]):
            out[image, first:last] = store.features[image, first:last].compute(scheduler="sync")
    out.flush()


def read_flat(path: Path, load: Load) -> None:
    """The same random pixels of the flat file, a batch of them an indexing."""
    mapped = np.load(path, mmap_mode="r")
    pixels = _random_pixels(mapped.shape, load.singles)
    for start in range(0, len(pixels), load.batch_size):
        mapped[tuple(pixels[start : start + load.batch_size].T)]


def flat_cost(shape: tuple[int, ...], load: Load) -> Cost:
    """Memory pages that the pixels lie in; the kernel may read more of them ahead."""
    first = np.ravel_multi_index(_random_pixels(shape, load.singles).T, shape[:3]) * shape[3] * FEATURE_BYTES
    pages = (first + shape[3] * FEATURE_BYTES - 1) // PAGE_BYTES - first // PAGE_BYTES + 1
    return Cost(load.singles, int(pages.sum()) * PAGE_BYTES, load.singles * shape[3] * FEATURE_BYTES)


def table_row(
    name: str, files: Path, prepare: Callable[[], Callable[[], None]], cost: Cost, repeats: int
) -> list[str]:
    """A row: costs, and the median pixels/s with the files out of the page cache and then in it."""
    cold, warm = [], []
    for _ in range(repeats):
        work = prepare()
        drop_cached(files)
        cold.append(seconds_of(work))
        warm.append(seconds_of(prepare()))
    rates = [f"{cost.drawn / median(times):,.0f}" for times in (cold, warm)]
    ratios = [f"{cost.bytes_read / cost.bytes_used:.2f}", f"{cost.bytes_read / cost.drawn / 1e3:.1f}"]
    return [name, f"{cost.drawn:,}", f"{cost.bytes_read / 1e6:,.0f}", *ratios, *rates]


def measure_ways(folder: Path, load: Load) -> None:
    """Print the table of all ways."""
    rows = []
    for layout in LAYOUTS:
        for name, (read, cost_of) in WAYS.items():
            cost = cost_of(open_store(folder, layout), load)

            def prepare(layout: str = layout, read: Callable[..., None] = read) -> Callable[[], None]:
                return partial(read, open_store(folder, layout), load)

            rows.append(
                table_row(f"{layout}, {name}", folder / f"{layout}.zarr", prepare, cost, load.repeats)
            )
    cost = replace(epoch_cost(open_store(folder, "pyramid"), load), bytes_read=0)
    rows.append(
        table_row(
            "pyramid in memory, sampler",
            folder / "pyramid.zarr",
            lambda: read_cached_epoch(open_store(folder, "pyramid"), load),
            cost,
            load.repeats,
        )
    )
    store, flat = open_store(folder, "dense"), folder / "features.npy"
    if not flat.exists():
        write_flat(store, flat)
    cost = flat_cost(store.shape, load)
    rows.append(
        table_row(
            "flat .npy, single pixels", flat, lambda: partial(read_flat, flat, load), cost, load.repeats
        )
    )
    shape = " x ".join(map(str, store.shape))
    title = f"{shape}; sampler: {load.members} members x {load.draws:,} draws, batches of {load.batch_size}"
    columns = [
        "way",
        "pixels drawn",
        "MB read",
        "read / used",
        "kB a drawn pixel",
        "pixels/s cold",
        "pixels/s warm",
    ]
    print_table(title, columns, rows)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Bytes and pixels a second of the sampler and of naive reading."
    )
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--draws", type=int, default=16384, help="pixels of each member in the epoch")
    parser.add_argument("--singles", type=int, default=320, help="pixels read one at a time")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="work here, and use the stores that are there")
    parser.add_argument("--plain", action="store_true", help="the sampler beside plain reading alone")
    parser.add_argument("--quick", action="store_true", help="toy features, one run")
    options = parser.parse_args(arguments)
    load = Load(options.members, options.batch_size, options.draws, options.singles, options.repeats)
    if options.quick:
        load = Load(2, 16, 256, 16, 1)
    case = face_size.QUICK if options.quick else face_size.official_case("face")
    print(machine())
    with working_folder(options.folder) as folder:
        make_stores(case, folder, options.images)
        if not options.plain:
            measure_ways(folder, load)
        measure_reading(folder, load)


if __name__ == "__main__":
    main()
