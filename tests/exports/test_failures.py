"""How an export ends when a disk, a chunk, a store or a thread fails, and how it goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image
from support.commands import dgan, done
from support.exports import (
    NUMBERS,
    export_refusal,
    make_dataset,
    make_features,
    uncertainty,
    without_mark,
)
from support.stores import tree_bytes

import fstore
from fstore.errors import UnreadableError
from pipeline.errors import RunError
from pipeline.exports.formats import png
from pipeline.exports.marks import MARK, PARTIAL
from pipeline.exports.run import export
from pipeline.exports.sink import Sink
from pipeline.settings.schema import EXPORT_FORMATS

PNG = ("--format", "png")


class FullDisk:
    """A sink's ``write`` on a disk that is full after some files."""

    def __init__(self, patch: pytest.MonkeyPatch, num_files: int) -> None:
        self.left, self.write = num_files, Sink.write
        patch.setattr(Sink, "write", lambda sink, name, content: self(sink, name, content))

    def __call__(self, sink: Sink, name: str, content: bytes) -> None:
        self.left -= 1
        if self.left < 0:
            with sink.open(name) as file:
                file.write(content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.write(sink, name, content)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    dataset: Path, tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        FullDisk(patch, 8 + 2 * 40)  # 8 are for the estimate
        result = dgan("export", dataset, tmp_path / "out", *PNG, "--threads", threads)
    assert result.exit_code == 1
    line = result.stderr.splitlines()[-1]
    assert line.startswith(f"Error: the disk is full ({tmp_path / 'out' / PARTIAL}")
    assert line.endswith("then the same command goes on from where it was")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [PARTIAL]
    again = done("export", dataset, tmp_path / "out", *PNG)
    assert "out: going on after " in again.stderr
    done("export", dataset, tmp_path / "whole", *PNG)
    assert without_mark(tmp_path / "out") == without_mark(tmp_path / "whole")


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    for more in ((), ("--dry-run",)):
        result = dgan("export", dataset, tmp_path / "out", *PNG, *more)
        assert result.exit_code == 1
        assert "the disk has 10 kB free; make room" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_estimate_needs_no_disk(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    for name in EXPORT_FORMATS:
        done("export", dataset, tmp_path / "out", "--format", name, "--dry-run")
    assert not list(tmp_path.iterdir())


def test_a_signal_ends_an_export_in_one_line_and_it_goes_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = png.PngExporter._write, iter(range(10**6))

    def interrupted(self: Any, *arguments: Any) -> Any:
        if next(calls) == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(png.PngExporter, "_write", interrupted)
        assert dgan("export", dataset, tmp_path / "out", *PNG).exit_code == 130
    assert not (tmp_path / "out" / MARK).exists()
    done("export", dataset, tmp_path / "out", *PNG)
    done("export", dataset, tmp_path / "whole", *PNG)
    assert without_mark(tmp_path / "out") == without_mark(tmp_path / "whole")


def test_an_error_of_one_thread_ends_the_others_early(dataset: Path, tmp_path: Path) -> None:
    """Otherwise hours might pass until it is told."""
    from pipeline.exports import job as jobs
    from pipeline.settings.schema import ExportConfig

    job = jobs.prepare(str(dataset), tmp_path / "out", ExportConfig(format="png", all=True))
    read, places = job.content.read, []

    def fails(place: int) -> Any:
        places.append(place)
        if len(places) > 4 and place == 16:
            raise ValueError("no luck")
        return read(place)

    job.content.read = fails  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="no luck"):
        export(job, threads=2, say=lambda _: None)
    assert len(places) < 60
    assert not (tmp_path / "out" / MARK).exists()


def test_an_overwrite_that_cannot_be_done_leaves_the_old_export(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be known before is known before: the first images, the disk, and whether workers come."""
    out, store = tmp_path / "out", make_dataset(tmp_path / "d.zarr", num_images=20, keep="1")
    done("export", dataset, out, *PNG, "--limit", 2)
    before = tree_bytes(out)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.exports.run.open_pool", no_worker)
        result = dgan("export", dataset, out, *PNG, "--overwrite", "--workers", 1)
        assert (result.exit_code, result.stderr) == (1, "Error: no worker came\n")
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(tmp_path)
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
        result = dgan("export", dataset, out, *PNG, "--overwrite")
        assert result.exit_code == 1 and "the disk has 10 kB free" in result.stderr
    damage(store, 100)
    result = dgan("export", store, out, *PNG, "--overwrite")
    assert result.exit_code == 1 and "is damaged" in result.stderr
    assert tree_bytes(out) == before
    assert "nothing to do" in done("export", dataset, out, *PNG, "--limit", 2).stdout


def test_what_an_overwrite_frees_counts_as_free(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("export", dataset, tmp_path / "out", *PNG)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    for more in (("--dry-run",), ()):
        done("export", dataset, tmp_path / "out", *PNG, "--limit", 60, "--overwrite", *more)


def no_worker(*_: object) -> None:
    raise RunError("no worker came")


def damage(store: Path, place: int) -> None:
    """Change a byte of an image: that at a place of the first file, whose first image comes first."""
    file = next(path for path in (store / "images" / "c").rglob("*") if path.is_file())
    content = bytearray(file.read_bytes())
    content[place % len(content)] ^= 255
    file.write_bytes(content)


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    store = make_dataset(tmp_path / "d.zarr", num_images=20, keep="1")
    damage(store, 10_000)
    result = dgan("export", store, tmp_path / "out", *PNG)
    assert result.exit_code == 1
    assert f"{store}: array 'images', image " in result.stderr.splitlines()[-1]
    assert "is damaged" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / MARK).exists()


@pytest.mark.parametrize("more", [(), ("--all",)])
def test_a_filter_that_is_damaged_or_cannot_be_read_is_named_and_all_is_no_way_out(
    tmp_path: Path, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All images have whether they are kept in their files, whichever are exported."""
    store = make_dataset(tmp_path / "d.zarr", num_images=3, keep="1")
    with monkeypatch.context() as patch:
        patch.setattr(fstore.Dataset, "_vector", forbidden)
        result = dgan("export", store, tmp_path / "out", *PNG, *more)
        assert (result.exit_code, result.stderr) == (1, "Error: kept: Permission denied\n")
    (store / "kept/c/0").write_bytes(b"\0" * 30)
    result = dgan("export", store, tmp_path / "out", *PNG, *more)
    assert result.exit_code == 1
    assert f"{store}: array 'kept', images 0 to 2, chunk [0] is damaged" in result.stderr
    assert "run `dgan repair`" in result.stderr and "--all" not in result.stderr


def forbidden(_: fstore.Dataset, name: str) -> np.ndarray:
    raise UnreadableError(f"{name}: Permission denied")


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ([3], " is [3]: expected a number for each of 4 images"),
        (["a", 1, 2, 3], "[0] is 'a': expected an integer from 0"),
        ("xyz", " is 'xyz': expected a list"),
        ({}, " is {}: expected a list"),
        ([None, 1, 2, 3], "[0] is None: expected an integer"),
        ([True, 2, 3, 4], "[0] is True: expected an integer"),
        ([0, -1, 2, 3], "[1] is -1: expected an integer from 0"),
        ([0, 1, 2, 2**63], "[3] is 9223372036854775808: expected an integer"),
        ([5, 7, 6, 5], " is [5, 7, 6, 5]: 5 stands at 0 and 3, expected another number for each image"),
    ],
)
def test_numbers_of_images_that_are_none_are_named(tmp_path: Path, numbers: Any, says: str) -> None:
    store = make_features(tmp_path / "f.zarr")
    change_attribute(store, "inputs", {"image_numbers": numbers})
    line = export_refusal(store, tmp_path / "out", *PNG)
    assert f"{store}: attribute 'fstore' is malformed (inputs.image_numbers{says}" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_what_json_cannot_hold_is_named_and_the_rest_is_carried(tmp_path: Path, format: str) -> None:
    """A name that is not UTF-8, as files on Linux may have, is no reason to refuse an export."""
    store = make_dataset(tmp_path / "d.zarr", num_images=2, keep="1")
    words = ("export", store, tmp_path / "out", "--format", format)
    for value, found in {float("nan"): "nan", float("-inf"): "-inf"}.items():
        change_attribute(store, "interpreter", {"a": [0, {"b": value}]})
        line = export_refusal(*words[1:])
        assert f"{store}: attribute 'fstore': interpreter.a[1].b is {found}: expected a finite number" in line
    change_attribute(store, "interpreter", {"folder": "caf\udce9", "é": 1e-9})
    done(*words)
    mark = json.loads((tmp_path / "out" / MARK).read_text())
    assert mark["source"]["interpreter"] == {"folder": "caf\udce9", "é": 1e-9}


def change_attribute(store: Path, name: str, value: Any) -> None:
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"]["fstore"][name] = value
    (store / "zarr.json").write_text(json.dumps(root))


def anew(store: Path) -> None:
    shutil.rmtree(store)
    make_dataset(store, num_images=20, keep="1")


def filtered(store: Path) -> None:
    scores = uncertainty(20)
    fstore.set_kept(store, scores <= np.sort(scores)[9], "0.5", float(np.sort(scores)[9]))


@pytest.mark.parametrize("change", [anew, filtered])
def test_a_store_that_is_replaced_meanwhile_is_never_half_exported(
    tmp_path: Path, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_dataset(tmp_path / "d.zarr", num_images=20, keep="1")
    whole = png.PngExporter.write_whole

    def changed(*arguments: Any) -> None:
        change(store)
        whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(png.PngExporter, "write_whole", changed)
        result = dgan("export", store, tmp_path / "out", *PNG)
    assert result.exit_code == 2
    assert f"{store}: " in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / MARK).exists()
    assert "the export that was begun there" in export_refusal(store, tmp_path / "out", *PNG)
    done("export", store, tmp_path / "out", *PNG, "--overwrite")


def test_an_export_is_not_gone_on_with_after_annotations_were_corrected(tmp_path: Path) -> None:
    store = make_features(tmp_path / "f.zarr")
    done("export", store, tmp_path / "out", *PNG)
    change_attribute(store, "inputs", {"image_numbers": list(NUMBERS), "annotations": "another hash"})
    assert "is of the store before its annotations were changed" in export_refusal(
        store, tmp_path / "out", *PNG
    )


def test_an_export_of_a_store_whose_masks_were_corrected_is_not_called_done(tmp_path: Path) -> None:
    """Another program than dgan may leave ``inputs`` as they were."""
    store, out = make_features(tmp_path / "f.zarr"), tmp_path / "out"
    done("export", store, out, *PNG)
    mark = json.loads((out / MARK).read_text())
    assert mark["settings"].pop("revision") is None
    (out / MARK).write_text(json.dumps(mark))  # as an older version has written it
    assert "nothing to do" in done("export", store, out, *PNG).stdout
    correct(store)
    for more in ((), ("--dry-run",)):
        line = export_refusal(store, out, *PNG, *more)
        assert "the export there is of the store before images were added or annotations corrected" in line
    done("export", store, out, *PNG, "--overwrite")
    with Image.open(out / f"labels/{NUMBERS[0]:06d}.png") as picture:
        assert not np.any(picture)
    assert "nothing to do" in done("export", store, out, *PNG).stdout


def correct(store: Path) -> None:
    """Give the first image of a feature store another mask, all background."""
    found = fstore.open(store)
    assert isinstance(found, fstore.FeatureStore)
    masks = found.masks.compute()
    masks[0] = 0
    annotated = fstore.Annotated(found.latents.compute(), masks)
    shape = annotated.latents.shape
    fstore.create(store, found.meta, num_images=shape[0], latent_shape=shape[1:], annotated=annotated).close()
    assert fstore.open(store).revision == 1 and fstore.open(store).meta.inputs == found.meta.inputs


def test_bytes_that_are_written_count_as_files(tmp_path: Path) -> None:
    sink = Sink(tmp_path)
    sink.write("a/b.txt", b"four")
    assert sink.files == {"a/b.txt": 4}

    def broken(file: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full") as raised, sink.open("f") as file:
        broken(file)
    assert raised.value.filename == str(tmp_path / "f")
    assert "f" not in sink.files
