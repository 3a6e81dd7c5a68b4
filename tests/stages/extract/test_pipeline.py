"""Extraction as a pipeline: an image is written while the next is rendered, within a memory budget."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.stores import store_bytes, tree_bytes
from support.tiny import input_flags, write_inputs
from support.variants import variants

import fstore
from fstore.shards import ShardWriter
from pipeline.cli import main
from pipeline.rendering.renderer import Renderer
from pipeline.stages import costs


def extract(folder: Path, *options: str) -> Result:
    flags = [*input_flags(folder), "--store", str(folder / "f.zarr"), *options]
    return CliRunner().invoke(main, ["extract-features", *flags])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_inputs(tmp_path / "in", num=3)


def test_the_second_image_is_rendered_while_the_first_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered, waited = threading.Semaphore(0), []
    render, write = Renderer.render, fstore.FeatureWriter.write

    def counting_render(self, *arguments):
        rendered.release()
        return render(self, *arguments)

    def waiting_write(self, prepared) -> None:
        if prepared.image == 0:
            waited.append([rendered.acquire(timeout=20) for _ in range(2)])
        write(self, prepared)

    monkeypatch.setattr(Renderer, "render", counting_render)
    monkeypatch.setattr(fstore.FeatureWriter, "write", waiting_write)
    assert extract(folder).exit_code == 0
    assert waited == [[True, True]]


@pytest.mark.parametrize("render_batch", variants("2", "1"))
@pytest.mark.parametrize("layout", variants("pyramid", "dense"))
def test_the_least_budget_gives_the_same_bytes_as_none(folder: Path, layout: str, render_batch: str) -> None:
    options = ["--layout", layout, "--render-batch", render_batch]
    assert extract(folder, *options).exit_code == 0
    usual = store_bytes(folder / "f.zarr")
    refused = extract(folder, *options, "--overwrite", "--memory-budget", "1MB")
    assert refused.exit_code == 2
    assert tree_bytes(folder / "f.zarr").keys() == usual.keys()  # refused before anything is deleted
    least = refused.output.split(" needs ")[1].split()[0]
    assert extract(folder, *options, "--overwrite", "--memory-budget", least).exit_code == 0
    assert store_bytes(folder / "f.zarr") == usual


def test_an_error_while_writing_is_one_line_and_the_run_goes_on_from_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ShardWriter.write

    def full(self, name: str, values, start) -> list[str]:
        if start[0] == 1 and name == "features":
            raise OSError(28, "No space left on device")
        return original(self, name, values, start)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "write", full)
        failed = extract(folder)
    assert failed.exit_code == 1
    assert "the disk is full" in failed.output.splitlines()[-1]
    assert len(fstore.open(folder / "f.zarr")) == 1
    assert extract(folder).exit_code == 0
    assert len(fstore.open(folder / "f.zarr")) == 3


def test_an_interrupt_stops_the_write_in_the_background(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first image's write goes on until it is told to stop, or for a minute."""
    render, renders = Renderer.render, []

    def interrupted_render(self, *arguments):
        renders.append(1)
        if len(renders) == 2:
            raise KeyboardInterrupt
        return render(self, *arguments)

    def endless_write(self, prepared) -> None:
        assert self._stopped.wait(60)
        raise InterruptedError

    monkeypatch.setattr(Renderer, "render", interrupted_render)
    monkeypatch.setattr(fstore.FeatureWriter, "write", endless_write)
    result = extract(folder)
    assert result.exit_code == 130
    assert "interrupted" in capfd.readouterr().err
    assert len(fstore.open(folder / "f.zarr")) == 0


def test_the_dry_run_tells_the_memory_of_the_plan(folder: Path) -> None:
    lines = extract(folder, "--dry-run").output.splitlines()
    memory = next(line for line in lines if line.startswith("host memory"))
    found = float(memory.split()[3])
    assert found > costs.IMPORTS_BYTES / 1e6  # in MB at this size
    assert extract(folder, "--dry-run", "--memory-budget", "1MB").exit_code == 2
