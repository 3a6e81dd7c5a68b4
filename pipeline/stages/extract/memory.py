"""How much host memory extraction takes, and how it works within a budget.

Arithmetic on a store's meta and a generator's shapes; it starts nothing. Results do not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from fstore import format as fmt
from fstore.display import human_bytes
from pipeline.errors import UsageError
from pipeline.models.generator import Generator
from pipeline.rendering.side_by_side import MOST_AT_ONCE
from pipeline.stages import costs

FASTEST = 3  # band buffers: one being made, two being compressed and written; more gain nothing
MOST_RENDERERS = {"dense": 2, "pyramid": MOST_AT_ONCE}  # with which 512 x 512 x 5088 stays below 2 GiB
COMPRESSED_COPIES = 2  # of a shard being written: its chunks and the joined file, at worst as large as raw


@dataclass(frozen=True)
class ExtractSizes:
    """What the memory of a run follows from, in bytes."""

    band: int
    """A raw band of dense features; 0 where the layout has none."""
    largest_layer: int
    """As stored, of one image."""
    pyramid: int
    """All layers as stored, of one image."""
    held: int
    """In memory from start to end: imports, masks, and the network's weights where the host renders."""
    rendering: int
    """In memory in addition, while a batch is rendered."""
    renderers: int = 1
    """Images that may be rendered at once: each takes a thread."""


@dataclass(frozen=True)
class ExtractMemory:
    """What follows from a memory budget."""

    band_buffers: int
    """Bands of dense features in memory at once."""
    queue_depth: int
    """Images that are written while the next batch is rendered: 1 or 0."""
    renderers: int
    """Images that are rendered at once. More than 1: so many are in hand, of which one may be written."""
    host_bytes: int
    """The peak to expect, in bytes, imports included."""


def extract_sizes(
    meta: fmt.FeatureMeta,
    num_images: int,
    generator: Generator,
    render_batch: int,
    *,
    on_gpu: bool,
    threads: int = 1,
) -> ExtractSizes:
    """Sizes of a run. Of the number of images only the masks depend: they are all in memory.

    ``threads``: of torch's operators.
    """
    layers = [prod(layer.resolution) * layer.channels * 2 for layer in meta.layers]
    band = min(fmt.BAND, meta.height) * meta.width * meta.channels * 2 if meta.layout == "dense" else 0
    if on_gpu:
        band = 1 << (band - 1).bit_length() if band else 0  # pinned memory comes in powers of two
    weights = 0 if on_gpu else costs.weight_bytes(generator)
    imports = costs.GPU_IMPORTS_BYTES if on_gpu else costs.IMPORTS_BYTES
    return ExtractSizes(
        band=band,
        largest_layer=max(layers),
        pyramid=0 if on_gpu and band else sum(layers),  # on a GPU only a pyramid's layers cross to the host
        held=imports + weights + num_images * meta.height * meta.width * 2,
        rendering=0 if on_gpu else costs.render_bytes(generator, render_batch) - weights,
        renderers=1 if on_gpu or render_batch > 1 else min(MOST_RENDERERS[meta.layout], threads),
    )


def host_bytes(sizes: ExtractSizes, band_buffers: int, queue_depth: int, renderers: int = 1) -> int:
    """Peak host memory of extraction that works so."""
    raw = sizes.band or sizes.largest_layer
    writing = COMPRESSED_COPIES * fmt.num_write_threads(band_buffers) * raw
    writing += sizes.pyramid
    making = sizes.rendering + sizes.pyramid
    kept = sizes.held + band_buffers * sizes.band
    if renderers > 1:
        return kept + (renderers - 1) * making + max(making, writing)
    if queue_depth:
        return kept + writing + making
    # In turns. Of what the one has freed the allocator keeps a part back from the other: a quarter was
    # measured, and half is allowed for.
    return kept + max(writing, making) + min(writing, making) // 2


def plan_memory(sizes: ExtractSizes, budget: int | None) -> ExtractMemory:
    """The fastest way to work within ``budget`` bytes; None: the fastest of all. Raises UsageError where
    there is none.
    """
    ways = [(FASTEST, 1, renderers) for renderers in range(sizes.renderers, 0, -1)]
    ways += [(2, 1, 1), (FASTEST, 0, 1), (2, 0, 1), (1, 0, 1)]
    plans = [ExtractMemory(*way, host_bytes(sizes, *way)) for way in ways]
    for plan in plans:
        if budget is None or plan.host_bytes <= budget:
            return plan
    least_mb = -(-min(plan.host_bytes for plan in plans) // 10**6)
    raise UsageError(
        f"--memory-budget is {human_bytes(budget or 0)}; extracting needs {least_mb}MB at "
        "least; a --layout pyramid, a smaller --resolution or --render-batch need less"
    )
