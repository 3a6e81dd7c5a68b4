"""The folder of an export: whose it is, when it is whole, and what is never deleted."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import dgan, done
from support.exports import (
    export_refusal,
    exported_numbers,
    make_dataset,
    without_mark,
)
from support.stores import tree_bytes

from pipeline.exports import folder as export_folder
from pipeline.exports.folder import ExportFolder
from pipeline.exports.formats import png
from pipeline.exports.marks import FILES, MARK, PARTIAL
from pipeline.exports.own_files import OwnFiles, write_list
from pipeline.exports.sink import Sink
from pipeline.settings.schema import EXPORT_FORMATS

PNG = ("--format", "png")


def test_the_same_command_again_does_nothing_and_another_is_refused(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done("export", dataset, out, *PNG, "--split", "train=0.9,val=0.1", "--limit", 20)
    before = tree_bytes(out)
    words = ("--split", "train = 0.90, val = 0.1", "--limit", 20)
    assert (
        "exported already with these settings; nothing to do"
        in done("export", dataset, out, *PNG, *words).stdout
    )
    assert "nothing to do" in done("export", dataset, out, *PNG, *words, "--dry-run").stdout
    for more, said in {
        ("--limit", 20): "split is train=0.9,val=0.1, this run has none",
        ("--limit", 21, "--split", "train=0.9,val=0.1"): "limit is 20, this run has 21",
        ("--all", *words): "--all is off, this run has on",
        ("--seed", 1, *words): "seed is 0, this run has 1",
        ("--image-encoding", "jpeg", *words): "image_encoding is png, this run has jpeg",
    }.items():
        for run in ((), ("--dry-run",)):
            line = export_refusal(dataset, out, *PNG, *more, *run)
            assert f"the export there has other settings: {said}; use the same" in line
    assert tree_bytes(out) == before


def test_another_store_another_format_and_another_label_map_are_told_in_words(
    dataset: Path, features: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    maps = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for path, sources in zip(maps, ([1, 2], [3, 4]), strict=True):
        path.write_text(
            'drop = ["part 1", "part 2", "part 3", "part 4"]\n'.replace(f'"part {sources[0]}", ', "")
            + '[[classes]]\nname = "background"\n[[classes]]\n'
            f'name = "body"\ncolor = "#010203"\nfrom = [{sources[0]}]\n'
        )
    done("export", dataset, out, *PNG, "--limit", 2, "--label-map", maps[0])
    assert "the export there is of another store; use" in export_refusal(features, out, *PNG)
    assert "format is png, this run has webdataset" in export_refusal(dataset, out, "--format", "webdataset")
    assert "is with another label map" in export_refusal(
        dataset, out, *PNG, "--limit", 2, "--label-map", maps[1]
    )
    plain = export_refusal(dataset, out, *PNG, "--limit", 2)
    assert "is with another label map" in plain


def test_overwrite_replaces_an_export_and_nothing_else(dataset: Path, features: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done("export", dataset, out, *PNG, "--split", "train=0.9,val=0.1")
    (out / "notes.txt").write_text("mine")
    line = export_refusal(features, out, "--format", "webdataset", "--overwrite")
    assert "holds files that are not the export's (notes.txt); move them away" in line
    assert exported_numbers(out, "train")
    (out / "notes.txt").unlink()
    done("export", features, out, "--format", "webdataset", "--overwrite")
    done("export", features, tmp_path / "other", "--format", "webdataset")
    assert without_mark(out) == without_mark(tmp_path / "other")


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_an_overwrite_deletes_all_files_of_the_export(dataset: Path, tmp_path: Path, format: str) -> None:
    for words in (("--limit", 3, "--split", "a=0.4,b=0.6"), ("--limit", 2)):
        done("export", dataset, tmp_path / "out", "--format", format, *words, "--overwrite")
    again = tree_bytes(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    done("export", dataset, tmp_path / "out", "--format", format, "--limit", 2)
    assert again.keys() == tree_bytes(tmp_path / "out").keys()
    listed = (tmp_path / "out" / FILES).read_text().splitlines()
    assert {json.loads(line) for line in listed} == again.keys() - {MARK, FILES}


@pytest.mark.parametrize(
    "name", ["labels/mine/notes.txt", "labels/000009.txt", "images/000070.png", "images/a"]
)
def test_an_overwrite_that_finds_files_of_others_at_any_depth_deletes_nothing(
    dataset: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    done("export", dataset, out, *PNG, "--limit", 2)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).symlink_to(tmp_path) if name == "images/a" else (out / name).write_text("precious")
    before = tree_bytes(out)
    for more in ((), ("--dry-run",)):
        line = export_refusal(dataset, out, *PNG, "--limit", 3, "--overwrite", *more)
        assert f"{out}: holds files that are not the export's ({name}); move them away, or name" in line
    assert tree_bytes(out) == before
    assert "nothing to do" in done("export", dataset, out, *PNG, "--limit", 2).stdout
    (out / name).unlink()
    (out / "images/.DS_Store").touch()  # it appears by itself
    done("export", dataset, out, *PNG, "--limit", 3, "--overwrite")
    assert len(exported_numbers(out)) == 3 and not (out / "labels/mine").exists()


def test_a_file_that_comes_while_an_export_is_deleted_stays(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    done("export", dataset, out, *PNG, "--limit", 2)

    def put(self: ExportFolder) -> None:
        (out / "labels/notes.txt").write_text("precious")
        discard(self)

    discard = ExportFolder.discard
    with monkeypatch.context() as patch:
        patch.setattr(ExportFolder, "discard", put)
        line = export_refusal(dataset, out, *PNG, "--limit", 3, "--overwrite")
    assert f"{out / 'labels'}: something was put there while the export was deleted; move it away" in line
    assert names(out / "labels") == {"notes.txt"}
    words = (dataset, out, *PNG, "--limit", 3)
    assert "not the export's (labels/notes.txt)" in export_refusal(*words)  # the deletion would go on
    (out / "labels/notes.txt").unlink()
    done("export", *words)
    assert len(exported_numbers(out)) == 3


@pytest.mark.parametrize("content", [None, "", "\0\0\n[]\n{\n", '"\\ud800"\n"images/000003.png"\n'])
def test_a_list_of_files_that_is_absent_or_damaged_deletes_nothing(
    features: Path, tmp_path: Path, content: str | None
) -> None:
    out = tmp_path / "out"
    done("export", features, out, *PNG)
    (out / FILES).unlink() if content is None else (out / FILES).write_text(content)
    before = tree_bytes(out)
    line = export_refusal(features, out, *PNG, "--overwrite")
    said = "delete the folder, or name another OUT" if content is None else "not the export's (images/00000"
    assert said in line
    assert "nothing to do" in done("export", features, out, *PNG).stdout
    assert tree_bytes(out) == before


def test_an_export_of_files_alone_needs_no_list_to_be_overwritten(features: Path, tmp_path: Path) -> None:
    """As older versions have made it."""
    done("export", features, tmp_path / "out", "--format", "webdataset")
    (tmp_path / "out" / FILES).unlink()
    done("export", features, tmp_path / "out", *PNG, "--overwrite")
    assert exported_numbers(tmp_path / "out") == [3, 7, 8, 20]


@given(st.sets(st.text(st.characters(exclude_characters="\0/"), min_size=1), max_size=20))
def test_a_list_holds_the_names_that_were_written_and_no_others(own: set[str]) -> None:
    with TemporaryDirectory() as folder:
        half, path = len(own) // 2, Path(folder, FILES)
        write_list(path, sorted(own)[:half])
        found = OwnFiles([path, path.with_name("absent")])
    assert {name for name in own if name in found} == set(sorted(own)[:half])


@pytest.mark.parametrize("more", [(), ("--overwrite",), ("--dry-run",)])
def test_a_folder_of_something_else_is_left_alone(
    dataset: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    assert "holds other files (thesis.tex); expected an empty" in export_refusal(
        dataset, tmp_path / "out", *PNG, *more
    )
    (tmp_path / "file").touch()
    assert "file: is a file" in export_refusal(dataset, tmp_path / "file", *PNG, *more)
    assert "is a file" in export_refusal(dataset, tmp_path / "file" / "out", *PNG, *more)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "out", "thesis.tex"]


def test_a_store_is_no_place_for_an_export(tmp_path: Path) -> None:
    store = make_dataset(tmp_path / "d.zarr", num_images=2, keep="1")
    before = tree_bytes(store)
    for out in (store, store / "png"):
        assert "lies in the store" in export_refusal(store, out, *PNG, "--overwrite")
    assert "holds other files (d.zarr)" in export_refusal(store, tmp_path, *PNG, "--overwrite")
    assert tree_bytes(store) == before


@pytest.mark.parametrize("place", ["link", ".", "lost+found"])
def test_a_link_a_dot_and_an_empty_disk_are_places_for_an_export(
    features: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    if place == "lost+found":
        (tmp_path / "there" / place).mkdir()
    monkeypatch.chdir(tmp_path / "there")
    out = tmp_path / "link" if place == "link" else Path(".")
    done("export", features, out, *PNG)
    assert exported_numbers(tmp_path / "there") == [3, 7, 8, 20]
    done("export", features, out, "--format", "webdataset", "--overwrite")
    assert (tmp_path / "link").is_symlink()
    assert not (tmp_path / "there" / "images").exists()


def test_a_link_to_nowhere_and_a_folder_that_cannot_be_made_are_one_line(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert "is a link to nowhere, which does not exist" in export_refusal(features, tmp_path / "link", *PNG)

    def mkdir(self: Path, *arguments: object, **more: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    result = dgan("export", features, tmp_path / "out", *PNG)
    assert (result.exit_code, result.stderr) == (1, f"Error: {tmp_path / 'out'}: Permission denied\n")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"entries": [".."], "settings": {}}', '{"entries": 3}'])
def test_a_mark_that_is_damaged_deletes_nothing(features: Path, tmp_path: Path, content: str) -> None:
    out = tmp_path / "out"
    done("export", features, out, *PNG)
    (out / MARK).write_text(content)
    (tmp_path / "beside").touch()
    before = tree_bytes(tmp_path)
    assert "damaged; delete the folder, or name another OUT" in export_refusal(features, out, *PNG)
    assert "not the export's (classes.toml, images" in export_refusal(features, out, *PNG, "--overwrite")
    assert tree_bytes(tmp_path) == before


def test_an_export_of_which_something_was_deleted_is_not_called_whole(features: Path, tmp_path: Path) -> None:
    done("export", features, tmp_path / "out", *PNG)
    shutil.rmtree(tmp_path / "out/labels")
    assert "was exported, but labels is not there any more; pass --overwrite" in export_refusal(
        features, tmp_path / "out", *PNG
    )
    done("export", features, tmp_path / "out", *PNG, "--overwrite")
    assert (tmp_path / "out/labels/000003.png").exists()


def test_what_is_put_into_the_folder_meanwhile_is_not_replaced(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(self: Any, sink: Sink) -> None:
        (tmp_path / "out/images").mkdir()
        (tmp_path / "out/images/mine.png").touch()

    with monkeypatch.context() as patch:
        patch.setattr(png.PngExporter, "write_last", put)
        assert "out/images: was put there while the export ran" in export_refusal(
            features, tmp_path / "out", *PNG
        )
    assert os.listdir(tmp_path / "out/images") == ["mine.png"]
    assert "(images); move them away" in export_refusal(features, tmp_path / "out", *PNG)
    shutil.rmtree(tmp_path / "out/images")
    done("export", features, tmp_path / "out", *PNG)
    assert exported_numbers(tmp_path / "out") == [3, 7, 8, 20]


def test_two_exports_do_not_write_into_one_folder(features: Path, tmp_path: Path) -> None:
    from fstore.lock import FolderLock

    (tmp_path / "out").mkdir()
    lock = FolderLock(tmp_path / "out")
    assert "another writer has it open" in export_refusal(features, tmp_path / "out", *PNG)
    lock.release()
    done("export", features, tmp_path / "out", *PNG)


@pytest.mark.parametrize("content", [b"\0\0\0\0", b"12", b"", b"1235", None])
def test_a_part_is_written_again_unless_its_files_have_the_bytes_that_were_written(
    tmp_path: Path, content: bytes | None
) -> None:
    folder = ExportFolder(tmp_path)
    folder.begin({})
    (folder.tree / "a.png").write_bytes(b"1234")
    folder.mark_part(0, ["a.png"], [])
    assert folder.written(0)
    (folder.tree / "a.png").unlink() if content is None else (folder.tree / "a.png").write_bytes(content)
    assert not folder.written(0)


def test_what_an_overwrite_deletes_is_gone_for_good_before_the_mark_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ExportFolder(tmp_path)
    folder.begin({})
    (folder.tree / "images").mkdir()
    (folder.tree / "images/1.png").touch()
    folder.finish({}, {}, ["images/1.png"])
    forced: list[set[str]] = []
    force = export_folder.force_to_disk
    monkeypatch.setattr(
        export_folder,
        "force_to_disk",
        lambda place: (force(place), forced.append(names(tmp_path)) if place == tmp_path else None),
    )
    folder.discard()
    begun = {PARTIAL, f"{PARTIAL}/discard.json"}
    images = {"images", "images/1.png"}
    assert forced[0] == {MARK, FILES, *images, *begun}  # the name of the new mark, before the old one goes
    assert forced[-2] == {FILES, *begun}  # nor does the list go before the files in it
    assert forced[-1] == begun and not names(tmp_path)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
