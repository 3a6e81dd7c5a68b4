"""How a project's files get into their folder: by renames within it, whatever disk it is, and all or none."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from support.commands import dgan, done
from support.stores import tree_bytes
from support.tiny import write_checkpoint

from pipeline.errors import UsageError
from pipeline.stages.sample import placing, stage
from pipeline.stages.sample.project import read_project

WORDS = ("sample", "--checkpoint", "checkpoint.pt", "--num", 3)
Move = Callable[..., None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, and in ``annotate`` three images: change a copy."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_checkpoint(folder / "checkpoint.pt")
        done(*WORDS)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project; the current folder is the one around it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "annotate"


@pytest.fixture
def empty(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for a project; the current folder is the one around it."""
    shutil.copy(made / "checkpoint.pt", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "annotate").mkdir()
    return tmp_path / "annotate"


def refused(*words: str | int) -> str:
    """What a command says that is refused."""
    result = dgan(*words)
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    return result.stderr


def pictures(project: Path) -> dict[str, bytes]:
    return tree_bytes(project / "images")


def as_a_disk(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """No file can be moved into ``folder`` or out of it, as where it is a mount point."""

    def within(move: Move) -> Move:
        def checked(source: str | Path, target: str | Path) -> None:
            inside = [Path(place).absolute().is_relative_to(folder) for place in (source, target)]
            if inside[0] != inside[1]:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source), None, str(target))
            move(source, target)

        return checked

    for name in ("rename", "replace", "link"):
        move = getattr(os, name)
        patch.setattr(os, name, within(move) if name != "link" else lambda a, b, move=move, **_: move(a, b))


def test_a_folder_may_be_a_disk_of_its_own(
    project: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "dgan.toml").write_text((project / "dgan.toml").read_text() + "# mine\n")
    mine = (project / "dgan.toml").read_bytes()
    as_a_disk(project, monkeypatch)
    done("sample", "--add", "--num", 2)
    assert len(pictures(project)) == 5 and (project / "dgan.toml").read_bytes() == mine
    fresh = tmp_path / "fresh"
    (fresh / "lost+found").mkdir(parents=True)  # as a new disk has
    as_a_disk(fresh, monkeypatch)
    done(*WORDS, "--out", "fresh")
    assert pictures(fresh) == pictures(made / "annotate") and (fresh / "dgan.toml").exists()
    assert not list(tmp_path.rglob(".*"))


def fill(folder: Path, images: int) -> None:
    """New files for a project, of other bytes than those that are there."""
    for name in (*(f"images/image_{image}.png" for image in range(images)), "latents.npy", "classes.toml"):
        (folder / name).write_text(f"new {name}")
    for name in ("average_latent.npy", "contact_sheet.png", "sample.json", "dgan.toml"):
        (folder / name).write_text(f"new {name}")


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    ("kind", "images", "keep_config", "links"),
    [
        ("project", 5, True, True),
        ("project", 2, False, True),
        ("project", 2, True, False),
        ("empty", 2, False, True),
    ],
)
def test_a_move_that_fails_leaves_what_was_there(
    kind: str,
    images: int,
    keep_config: bool,
    links: bool,
    error: BaseException,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project: Path = request.getfixturevalue(kind)
    (project / "classes.toml").unlink(missing_ok=True)
    before, move = tree_bytes(project), os.replace
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for last in range(1, 100):
        calls = count(1)

        def failing(source: Path, target: Path, calls: Iterator[int] = calls, last: int = last) -> None:
            if next(calls) == last:
                raise error
            move(source, target)

        try:
            with placing.new_project(project, read_project(project), keep_config=keep_config) as folder:
                fill(folder, images)
                monkeypatch.setattr(os, "replace", failing)
        except type(error):
            names = {name.split("/")[0] for name in before} | ({"masks"} if kind == "project" else set())
            assert tree_bytes(project) == before and set(os.listdir(project)) == names
        else:
            break
        finally:
            monkeypatch.setattr(os, "replace", move)
    assert last > images + 5
    kept = before.get("dgan.toml") if keep_config else None
    assert (project / "dgan.toml").read_bytes() == (kept or b"new dgan.toml")
    assert len(pictures(project)) == images and not list(project.glob("*partial"))


@pytest.mark.parametrize("moved", [(), ("sample.json",), ("sample.json", "classes.toml")])
def test_a_run_goes_on_where_one_was_killed_while_it_moved_the_first_files(
    empty: Path, made: Path, moved: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    partial, first = empty / ".dgan-sample.partial", empty / ".dgan-sample.partial/first"
    for place in (empty / "images", empty / "masks", partial, partial / "images"):
        place.mkdir()
    for name in ("images/image_0.png", "images/image_7.png", "latents.npy", *moved):
        (empty / name).write_bytes(b"of another seed")
    first.write_bytes(b"of another seed")
    (empty / "masks/image_mask0.npy").touch()
    refused(*WORDS)
    (empty / "masks/image_mask0.npy").unlink()
    first.rename(empty.with_name("first"))
    refused(*WORDS)  # nothing says that the files are a run's
    empty.with_name("first").rename(first)
    done(*WORDS, "--dry-run")
    assert (empty / "images/image_7.png").exists()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.rendering.renderer.Renderer.render", refuse)
        assert dgan(*WORDS).exit_code == 1
    assert tree_bytes(empty) == {}
    done(*WORDS)
    assert pictures(empty) == pictures(made / "annotate")
    assert sorted(os.listdir(empty)) == sorted(os.listdir(made / "annotate"))
    assert (empty / "classes.toml").read_bytes() == (made / "annotate/classes.toml").read_bytes()


def test_files_that_no_run_moved_are_in_the_way(empty: Path) -> None:
    for name in ("images", "masks"):
        (empty / name).mkdir()
    (empty / "images/image_0.png").touch()  # and nothing says that it is a run's
    assert "is a folder with other files in it" in refused(*WORDS)
    (empty / "images/image_0.png").unlink()
    done(*WORDS)


def test_what_an_older_program_left_beside_a_project_is_in_nobody_s_way(project: Path) -> None:
    left = project.with_name(".annotate.partial")
    (left / "images").mkdir(parents=True)
    (left / "images/image_0.png").write_bytes(b"half")
    done("sample", "--add", "--num", 1)
    assert len(pictures(project)) == 4 and not left.exists()
    left.mkdir()
    (left / "notes.txt").write_text("mine")
    done("sample", "--add", "--num", 1)
    assert (left / "notes.txt").read_text() == "mine"


def test_a_place_that_may_not_be_written_is_refused_before_anything_is_rendered(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Path] = [project.parent]
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) not in closed)
    monkeypatch.chdir(project)
    done("sample", "--add", "--num", 1, "--out", ".", "--dry-run")
    done("sample", "--add", "--num", 1, "--out", ".")  # the folder above it does not matter
    monkeypatch.chdir(project.parent)
    for more in ((), ("--dry-run",)):
        assert f"{project.parent}: may not be written to" in refused(*WORDS, "--out", "new", *more)
        closed[:] = [project]
        assert f"{project}: may not be written to" in refused("sample", "--add", "--num", 1, *more)
        closed[:] = [project.parent]
    assert not Path("new").exists()


def test_images_that_cannot_take_their_places_in_one_step_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, says = tree_bytes(project), "annotate/images: lies on another disk than the project"
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "ismount", lambda place: Path(place).name == "images")
        for more in ((), ("--dry-run",)):
            assert says in refused("sample", "--add", "--num", 1, *more)
    with monkeypatch.context() as patch:  # which looks like the same disk
        as_a_disk(project / "images", patch)
        patch.setattr("pipeline.rendering.renderer.Renderer.render", refuse)
        assert says in refused("sample", "--add", "--num", 1)
    assert tree_bytes(project) == before
    shutil.rmtree(project / "images")
    (project / "images").write_text("a file")
    assert "annotate/images: is no folder; move it away" in refused(
        "sample", "--add", "--num", 1, "--dry-run"
    )


@pytest.mark.parametrize("words", [("--add",), ("--overwrite", "--seed", 2)])
def test_two_runs_at_once_are_refused_and_drop_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str | int, ...]
) -> None:
    """The other one works when this one begins to write, or has ended between its reading and its lock."""
    run, render = stage.sample, stage._write_pictures
    lines = []

    def while_the_other_works(*arguments: object) -> None:
        monkeypatch.setattr(stage, "_write_pictures", render)
        lines.append(refused(*WORDS, *words))
        render(*arguments)  # type: ignore[arg-type]

    def after_the_other(*arguments: object) -> str:
        monkeypatch.setattr(stage, "sample", run)
        monkeypatch.setattr(stage, "_write_pictures", while_the_other_works)
        done("sample", "--add", "--num", 2)
        return run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "sample", after_the_other)
    line = refused(*WORDS, *words)
    assert "annotate: another `dgan sample` has changed it since this one began; run the same command" in line
    assert "another writer has it open, in this process" in lines[0]
    assert len(pictures(project)) == 5 and len(np.load(project / "latents.npy")) == 5
    done(*WORDS, *words)  # the same command again
    assert len(pictures(project)) == (8 if "--add" in words else 3)


def test_a_project_that_another_run_began_meanwhile_is_not_replaced(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty.rmdir()
    run = stage.sample

    def after_the_other(*arguments: object) -> str:
        monkeypatch.setattr(stage, "sample", run)
        done(*WORDS, "--seed", 3)
        return run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "sample", after_the_other)
    assert "another `dgan sample` has changed it" in refused(*WORDS)
    later = empty.with_name("later")

    def made_meanwhile() -> None:
        with placing.new_project(later, None) as folder:
            fill(folder, 1)
            (later / "mine").mkdir(parents=True)

    with pytest.raises(UsageError, match="was made by another program meanwhile"):
        made_meanwhile()
    assert os.listdir(later) == ["mine"]


def test_an_annotation_that_comes_while_others_are_rendered_keeps_its_image(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, render = pictures(project), stage._write_pictures

    def annotated_meanwhile(*arguments: object) -> None:
        render(*arguments)  # type: ignore[arg-type]
        (project / "masks/image_mask0.npy").touch()

    monkeypatch.setattr(stage, "_write_pictures", annotated_meanwhile)
    assert "holds 1 files that belong to the present images" in refused(*WORDS, "--overwrite", "--seed", 9)
    assert pictures(project) == before
