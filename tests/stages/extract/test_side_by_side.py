"""Images that are rendered side by side: written in order, few in hand, and the same bytes for any number of
threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from support.stores import store_bytes
from support.tiny import input_flags, write_inputs
from support.variants import variants

from pipeline.cli import main
from pipeline.machine.in_hand import ask_to_stop, batches_finished, until_asked
from pipeline.stages.extract.memory import ExtractMemory
from pipeline.stages.extract.side_by_side import render_and_write

NUM = 12


def memory(renderers: int, queue_depth: int = 1) -> ExtractMemory:
    return ExtractMemory(3, queue_depth, renderers, 0)


@pytest.fixture(params=[1, 2, 3])
def renderers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_images_are_written_once_each_and_in_order(renderers: int) -> None:
    written: list[int] = []
    batches = range(NUM)
    render_and_write(batches, lambda b: iter([b]), written.append, memory(renderers), on_one_thread=True)
    assert written == list(range(NUM))


def test_no_more_images_are_in_hand_than_are_rendered_at_once(renderers: int) -> None:
    lock, in_hand, most, together = threading.Lock(), set[int](), [0], threading.Barrier(renderers)

    def render(image: int) -> Iterator[int]:
        with lock:
            in_hand.add(image)
            most[0] = max(most[0], len(in_hand))
        if image < renderers:
            together.wait(20)
        yield image

    def write(image: int) -> None:
        with lock:
            in_hand.remove(image)

    render_and_write(range(NUM), render, write, memory(renderers, 0), on_one_thread=True)
    assert most[0] == renderers


def test_torch_has_one_thread_in_a_render_and_its_own_number_in_a_write(renderers: int) -> None:
    found: dict[str, set[int]] = {"render": set(), "write": set()}
    before = torch.get_num_threads()
    torch.set_num_threads(3)

    def render(image: int) -> Iterator[int]:
        found["render"].add(torch.get_num_threads())
        yield image

    def write(image: int) -> None:
        found["write"].add(torch.get_num_threads())

    try:
        render_and_write(range(NUM), render, write, memory(renderers), on_one_thread=True)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert found == {"render": {1}, "write": {3}}


@pytest.mark.parametrize("part", ["render", "write"])
def test_what_one_image_raises_is_raised_and_no_later_image_is_written(renderers: int, part: str) -> None:
    written: list[int] = []
    stopped = threading.Event()

    def render(image: int) -> Iterator[int]:
        if part == "render" and image == 4:
            raise OSError("the disk is full")
        yield image

    def write(image: int) -> None:
        if part == "write" and image == 4:
            raise OSError("the disk is full")
        written.append(image)

    with pytest.raises(OSError, match="the disk is full"):
        render_and_write(range(NUM), render, write, memory(renderers), on_one_thread=True, stop=stopped.set)
    assert written == list(range(len(written))) and len(written) <= 4
    assert stopped.is_set()


def test_who_asks_to_stop_gets_what_is_in_hand_finished_and_nothing_more_begun(renderers: int) -> None:
    rendered: list[int] = []
    written: list[int] = []

    def render(image: int) -> Iterator[int]:
        rendered.append(image)
        if image == 4:
            ask_to_stop()
        yield image

    with pytest.raises(KeyboardInterrupt), batches_finished():
        render_and_write(
            until_asked(range(NUM)), render, written.append, memory(renderers), on_one_thread=True
        )
    assert sorted(rendered) == written
    assert 5 <= len(written) < 5 + renderers


@pytest.mark.parametrize("layout", variants("pyramid", "dense"))
def test_the_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path, layout: str) -> None:
    folder = write_inputs(tmp_path / "in", num=5)
    flags = [*input_flags(folder), "--layout", layout, "--store", str(folder / "f.zarr"), "--overwrite"]

    def extract(*options: str) -> Result:
        return CliRunner().invoke(main, ["extract-features", *flags, *options])

    least = extract("--memory-budget", "1MB").output.split(" needs ")[1].split()[0]
    stores = []
    for options in (["1"], ["2"], ["3"], ["3", "--memory-budget", least]):
        result = extract("--threads", *options)
        assert result.exit_code == 0, result.output
        stores.append(store_bytes(folder / "f.zarr"))
    assert stores[1:] == [stores[0]] * 3
