"""``dgan export`` on workers, which are threads here: the files of one process, marked by the client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clusters import thread_cluster
from support.commands import dgan, done
from support.exports import make_dataset, without_mark

from pipeline.exports.folder import ExportFolder
from pipeline.exports.sink import Sink
from pipeline.exports.workers import DurableSink
from pipeline.settings.schema import EXPORT_FORMATS


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with thread_cluster() as made:
        yield made


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a dataset, which is exported in parts of 16 images."""
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "d.zarr")
    return tmp_path


SPLIT = ["--split", "train=0.75,val=0.25"]


SLOW = [pytest.param(form, marks=pytest.mark.slow) for form in EXPORT_FORMATS if form != "coco"]


@pytest.mark.parametrize("form", ["coco", *SLOW])
def test_an_export_has_the_same_files(dataset: Path, cluster: Any, form: str) -> None:
    words = ["export", "d.zarr", "out", "--format", form, *SPLIT]
    done(*words)
    (dataset / "out").rename(dataset / "by one")  # a format's files may hold the path of their folder
    said = done(*words, "--scheduler", cluster.scheduler_address)
    assert without_mark(dataset / "out") == without_mark(dataset / "by one")
    assert said.stdout.startswith("out: ")


def test_an_export_that_was_begun_is_gone_on_with(dataset: Path, cluster: Any) -> None:
    words = ["export", "d.zarr", "out", "--format", "png"]
    shared = ["--scheduler", cluster.scheduler_address]
    done(*words)
    (dataset / "out").rename(dataset / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExportFolder, "mark_prepared", refuse)  # the client stops before it marks a part
        assert dgan(*words, *shared).exit_code == 1
    folder = ExportFolder(dataset / "out")
    assert folder.state() == "unfinished" and not any(folder.written(part) for part in range(4))
    (folder.temporary / "left-over").write_bytes(b"of a worker that was killed")
    done(*words, *shared)
    assert without_mark(dataset / "out") == without_mark(dataset / "whole")
    assert not folder.partial.exists()


def refuse(*_: object) -> None:
    raise MemoryError


def test_a_file_comes_to_its_place_when_it_is_whole(tmp_path: Path) -> None:
    sink = DurableSink(tmp_path / "tree", tmp_path / "temporary")
    with sink.open("images/1.png") as file:
        file.write(b"half")
        file.flush()
        assert not (tmp_path / "tree/images").exists()
    assert (tmp_path / "tree/images/1.png").read_bytes() == b"half"
    assert sink.files == {"images/1.png": 4} and not list((tmp_path / "temporary").iterdir())
    plain = Sink(tmp_path / "plain")
    plain.write("images/1.png", b"half")
    assert plain.files == sink.files


@pytest.mark.slow  # in the same way as from an extraction, in tests/cluster/test_stages.py
def test_a_worker_that_sees_another_store_is_left_out(
    dataset: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.exports.workers.difference", lambda begun, here: "is of another store")
    words = ["export", "d.zarr", "out", "--format", "png", "--scheduler", cluster.scheduler_address]
    result = dgan(*words)
    assert result.exit_code == 1
    assert result.stderr.rstrip().endswith("d.zarr: the export of what is there is of another store")
