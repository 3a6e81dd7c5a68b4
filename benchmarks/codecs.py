"""Which compression the store should use: ratio, writing speed and reading time, on two generators' features.

    python -m benchmarks.codecs

``face`` is bands of dense features of a random-weight 1024 px StyleGAN1, ``demo`` all dense features of the
demo's trained one. Arrays are cut into chunks and shards as ``fstore`` does, two bands are written at once
and forced to the disk as ``fstore`` does (*write*; *encode* is the same into memory), and every chunk has
its crc32c. Chunks at random, and a whole shard, are read back from a warm cache, by zarr-python and by zarrs.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr

from benchmarks import generators
from benchmarks.measure import machine, median_seconds, print_table, seconds_of, working_folder

READERS = {
    "zarr-python": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "zarrs": "zarrs.ZarrsCodecPipeline",
}
ZSTD_OF_BLOSC = {1: 1, 2: 3, 5: 9}  # Blosc's level for zstd -> the zstd level that it means


@dataclass(frozen=True)
class Candidate:
    """A compressor under the name it has in the table."""

    name: str
    codecs: list[Any]
    channels_first: bool = False
    """Whether a chunk is turned to [c, h, w] before it is compressed."""


@dataclass(frozen=True)
class Bands:
    """Dense features, ``values`` (B, rows, W, C) float16: B bands, each the content of one shard."""

    name: str
    values: np.ndarray


def candidates() -> list[Candidate]:
    """Nothing; zstd, plain and byte-shuffled; Blosc's lz4 and zstd, both shuffles; some channels first."""
    from zarr.codecs import BloscCodec, ZstdCodec
    from zarr.codecs.numcodecs import Shuffle

    found = [Candidate("none", [])]
    for level in (1, 3, 6, 9):
        found.append(Candidate(f"zstd {level}", [ZstdCodec(level=level)]))
        found.append(Candidate(f"zstd {level}, shuffle", [Shuffle(elementsize=2), ZstdCodec(level=level)]))
    for shuffle in ("shuffle", "bitshuffle"):
        settings: dict[str, Any] = {"typesize": 2, "shuffle": shuffle}
        found.append(Candidate(f"blosc lz4 5, {shuffle}", [BloscCodec(cname="lz4", clevel=5, **settings)]))
        for clevel, level in ZSTD_OF_BLOSC.items():
            codec = BloscCodec(cname="zstd", clevel=clevel, **settings)
            found.append(Candidate(f"blosc zstd {level}, {shuffle}", [codec]))
    turned = (
        "zstd 1",
        "zstd 1, shuffle",
        "zstd 3, shuffle",
        "blosc lz4 5, bitshuffle",
        "blosc zstd 1, bitshuffle",
    )
    return found + [Candidate(f"channels first, {c.name}", c.codecs, True) for c in found if c.name in turned]


def face_bands(num_bands: int, widths: list[int], latent_size: int, resolution: int, folder: Path) -> Bands:
    """Bands spread over the height of one image of a random-weight generator."""
    path = folder / "generator.for_g_all.pt"
    generators.make_checkpoint(path, widths, latent_size)
    return Bands("face", _render_bands(path, resolution, num_images=1, bands_per_image=num_bands))


def demo_bands(num_images: int) -> Bands:
    """All bands of the first images that the demo annotates."""
    from pipeline import embedded

    return Bands(
        "demo",
        _render_bands(embedded.checkpoint_path(), 64, num_images, bands_per_image=2, demo_latents=True),
    )


def _render_bands(
    checkpoint: Path, resolution: int, num_images: int, bands_per_image: int, demo_latents: bool = False
) -> np.ndarray:
    """(images * bands, rows, W, C) float16."""
    import torch

    from fstore import format as fmt
    from fstore.interpolate import concatenate_block, to_stored
    from pipeline.checkpoints.read import load_generator
    from pipeline.embedded import annotated_latents
    from pipeline.machine.random_streams import Purpose
    from pipeline.rendering.latents import seeded_latents
    from pipeline.rendering.renderer import Renderer, RenderSettings, computed_average_latent

    generator = load_generator(checkpoint).generator
    grid = (resolution, resolution)
    settings = RenderSettings(1.0 if demo_latents else 0.7, 8, "const", 0, grid, (0, resolution))
    renderer = Renderer(generator, settings, computed_average_latent(generator), torch.device("cpu"))
    layers = fmt.build_layers([(la.name, la.resolution, la.channels) for la in generator.layers], grid)
    latents = (
        annotated_latents(num_images)
        if demo_latents
        else seeded_latents(Purpose.ANNOTATED_LATENTS, 0, range(num_images), generator.latent_size)
    )
    all_bands = fmt.bands(resolution)
    # Not the outermost ones: the resize repeats a map's border there, which compresses unusually well.
    chosen = ((np.arange(bands_per_image) + 0.5) * len(all_bands) / bands_per_image).astype(int)
    blocks = []
    for image in range(num_images):
        features = renderer.render(latents[image : image + 1], "z", [image]).features
        stored = [to_stored(features.pop(0)[0], layer, grid) for layer in layers]
        blocks += [
            concatenate_block(stored, layers, grid, all_bands[i], (0, resolution)).numpy() for i in chosen
        ]
    return np.stack(blocks)


def create(path: Path | None, bands: Bands, candidate: Candidate) -> zarr.Array[Any]:
    """An array cut as the dense layout is, band after band along the rows; in memory without a path."""
    from zarr.codecs import Crc32cCodec, TransposeCodec

    from fstore import format as fmt

    count, rows, width, channels = bands.values.shape
    return zarr.create_array(
        zarr.storage.MemoryStore() if path is None else str(path),
        shape=(1, count * rows, width, channels),
        dtype="float16",
        chunks=(1, min(fmt.TILE, rows), min(fmt.TILE, width), channels),
        shards=(1, rows, width, channels),
        filters=[TransposeCodec(order=(0, 3, 1, 2))] if candidate.channels_first else None,
        compressors=[*candidate.codecs, Crc32cCodec()],
        config={"write_empty_chunks": True},
    )


def write(path: Path | None, bands: Bands, candidate: Candidate) -> None:
    """Write all bands as ``fstore`` does: two at once, each forced to the disk."""
    from fstore import format as fmt
    from fstore.durable import sync_file
    from fstore.inventory import chunk_key
    from fstore.location import Location
    from fstore.writer import BAND_BUFFERS

    if path is not None:
        shutil.rmtree(path, ignore_errors=True)
    array = create(path, bands, candidate)
    rows = bands.values.shape[1]

    def one(index: int) -> None:
        array[:, index * rows : (index + 1) * rows] = bands.values[index][None]
        if path is not None:
            sync_file(Location.parse(path), chunk_key(array, (0, index, 0, 0)))

    with ThreadPoolExecutor(fmt.num_write_threads(BAND_BUFFERS)) as pool:
        list(pool.map(one, range(len(bands.values))))


@contextlib.contextmanager
def reader(name: str, path: Path) -> Iterator[zarr.Array[Any]]:
    """The array, its chunks decoded by zarr-python or zarrs. What zarrs cannot decode itself is an error."""
    strict = {"codec_pipeline.strict": True} if name == "zarrs" else {}
    with zarr.config.set({"codec_pipeline.path": READERS[name], **strict}):
        yield zarr.open_array(str(path), mode="r")


def chunk_milliseconds(array: zarr.Array[Any], count: int) -> float:
    """Median time to read one inner chunk, over chunks at random."""
    random = np.random.default_rng(0)
    rows, columns = array.chunks[1:3]
    places = random.integers(0, [array.shape[1] // rows, array.shape[2] // columns], (count + 3, 2))

    def read(y: int, x: int) -> None:
        array[0, y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]

    return 1000 * median([seconds_of(lambda y=y, x=x: read(int(y), int(x))) for y, x in places][3:])  # type: ignore[misc]


def measure(candidate: Candidate, bands: Bands, folder: Path, repeats: int, reads: int) -> list[str]:
    """One row of the table."""
    path = folder / "array.zarr"
    raw = bands.values.nbytes
    disk = median_seconds(lambda: write(path, bands, candidate), repeats)
    memory = median_seconds(lambda: write(None, bands, candidate), repeats)
    used = sum(file.stat().st_size for file in (path / "c").rglob("*") if file.is_file())
    row = [candidate.name, f"{raw / used:.3f}", f"{raw / memory / 1e6:.0f}", f"{raw / disk / 1e6:.0f}"]
    for name in READERS:
        row += _reading(name, path, bands, repeats, reads)
    return row


def _reading(name: str, path: Path, bands: Bands, repeats: int, reads: int) -> list[str]:
    if name == "zarrs" and find_spec("zarrs") is None:
        return ["not installed", ""]
    rows = bands.values.shape[1]
    try:
        with reader(name, path) as array:
            if not np.array_equal(
                np.asarray(array[0, :rows]).view(np.uint16), bands.values[0].view(np.uint16)
            ):
                raise AssertionError(f"{name} read other values than were written")
            chunk = chunk_milliseconds(array, reads)
            shard = median_seconds(lambda: array[0, :rows], repeats)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        return [f"cannot ({type(error).__name__})", ""]
    return [f"{chunk:.2f}", f"{bands.values[0].nbytes / shard / 1e6:.0f}"]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compare codecs on dense features.")
    parser.add_argument("--bands", type=int, default=3, help="bands of 32 rows of the face-size features")
    parser.add_argument("--images", type=int, default=16, help="images of the demo")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reads", type=int, default=100, help="chunks read at random")
    parser.add_argument("--only", help="candidates whose name begins so")
    parser.add_argument("--quick", action="store_true", help="toy features, one run")
    options = parser.parse_args(arguments)
    if options.quick:
        options.images, options.repeats, options.reads = 1, 1, 1
    columns = ["codec", "ratio", "encode MB/s", "write MB/s"]
    columns += [f"{name} {what}" for name in READERS for what in ("ms a chunk", "MB/s a shard")]
    print(machine())
    with working_folder(None) as folder, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # zarr warns of codecs beyond its specification; none of them is the store's
        chosen = [c for c in candidates() if c.name.startswith(options.only or "")]
        face = ([16, 16, 16, 8, 8], 16, 64) if options.quick else (generators.official_widths(1024), 512, 512)
        for bands in (
            face_bands(2 if options.quick else options.bands, *face, folder),
            demo_bands(options.images),
        ):
            rows = [measure(candidate, bands, folder, options.repeats, options.reads) for candidate in chosen]
            shape = " x ".join(map(str, bands.values.shape))
            print_table(
                f"{bands.name} features, {shape} float16 ({bands.values.nbytes / 1e6:.0f} MB)", columns, rows
            )


if __name__ == "__main__":
    main()
