"""Renders batches and writes their images, several in hand at once. It knows no inputs and no network.

``pipeline.rendering.side_by_side`` says why an image is rendered by one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

import fstore
from pipeline.machine.background import BackgroundCalls
from pipeline.machine.threads import one_thread
from pipeline.stages.extract.memory import ExtractMemory

Batch = TypeVar("Batch")


def render_and_write(
    batches: Iterable[Batch],
    render: Callable[[Batch], Iterator[fstore.PreparedImage]],
    write: Callable[[fstore.PreparedImage], None],
    memory: ExtractMemory,
    *,
    on_one_thread: bool,
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Render all batches, as many at once as ``memory`` allows, and write their images one by one, in order.

    ``on_one_thread``: each batch is one image, which one thread renders. ``stop`` is called where it ends by
    an exception, so that the ``write`` in hand can end early. Raises what ``render`` or ``write`` raises.
    """
    side_by_side = memory.renderers > 1
    with BackgroundCalls(memory.renderers if side_by_side else memory.queue_depth, stop) as background:
        # The thread that writes keeps torch's number of threads from now, for it also resizes.
        background.submit(torch.get_num_threads)
        background.finish()
        if side_by_side:
            _render_side_by_side(batches, render, write, memory.renderers, background)
        else:
            for batch in batches:
                for prepared in _on_one_thread(render, batch) if on_one_thread else render(batch):
                    background.submit(write, prepared)


def _on_one_thread(
    render: Callable[[Batch], Iterator[fstore.PreparedImage]], batch: Batch
) -> list[fstore.PreparedImage]:
    with one_thread():
        return list(render(batch))


def _render_side_by_side(
    batches: Iterable[Batch],
    render: Callable[[Batch], Iterator[fstore.PreparedImage]],
    write: Callable[[fstore.PreparedImage], None],
    renderers: int,
    background: BackgroundCalls,
) -> None:
    """Have ``renderers`` images in hand: each is rendered, waits for its turn, or is written."""

    def images(batch: Batch) -> list[fstore.PreparedImage]:
        return list(render(batch))

    def write_rendered(rendering: Future[list[fstore.PreparedImage]]) -> None:
        for prepared in rendering.result():
            write(prepared)

    with one_thread(), ThreadPoolExecutor(renderers, thread_name_prefix="dgan-render") as pool:
        for batch in batches:
            background.submit(write_rendered, pool.submit(images, batch))
            background.make_room()  # before the next batch is asked for: it may be the last one
