"""``dgan demo --photographs``: files that the other commands read, exact pairs in every style."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pipeline import embedded
from pipeline.cli import main
from pipeline.inputs.annotations.load import load_annotations, open_annotations
from pipeline.settings.schema import AnnotationsConfig


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def demo(*words: object) -> Result:
    return CliRunner().invoke(main, ["demo", *map(str, words)])


def pictures(folder: str, kind: str = "images") -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(Path(folder, kind).iterdir())])


def test_pictures_masks_and_names_are_those_of_the_renderer() -> None:
    assert demo("--photographs", 66, "--seed", 3).exit_code == 0
    images, masks = embedded.photographs(embedded.photograph_latents(range(66), seed=3))
    assert np.array_equal(pictures("photos"), images)
    assert np.array_equal(pictures("photos", "labels"), masks)
    config = AnnotationsConfig(folder=Path("photos"), min_pixels=0)
    found = load_annotations(open_annotations(config), range(66), grid=(64, 64), config=config)
    assert np.array_equal(np.stack(found.masks), masks)
    assert found.names is not None and tuple(found.names) == embedded.class_names()


def test_a_picture_is_the_same_however_many_follow_it() -> None:
    assert demo("--photographs", 1, "--style", "dusk").output.startswith(
        "photos: 1 picture of style dusk in "
    )
    demo("--photographs", 67, "--style", "dusk", "--out", "many")  # more than are drawn together
    for kind in ("images", "labels"):
        assert np.array_equal(pictures("photos", kind)[0], pictures("many", kind)[0])


def test_masks_carry_the_demos_palette() -> None:
    demo("--photographs", 2)
    demo("--photographs", 2, "--style", "masks", "--out", "drawn")
    for label, drawn in zip(sorted(Path("photos/labels").iterdir()), pictures("drawn"), strict=True):
        with Image.open(label) as picture:
            assert picture.mode == "P"
            difference = np.asarray(picture.convert("RGB")).astype(int) - drawn
        assert np.abs(difference).max() <= 1


def test_the_same_numbers_in_two_styles_are_exact_pairs() -> None:
    for style in ("plain", "dusk"):
        result = demo("--photographs", 3, "--style", style, "--out", style)
        assert result.output == (
            f"{style}: 3 pictures of style {style} in images/, their exact masks in labels/\n"
        )
    assert np.array_equal(pictures("plain", "labels"), pictures("dusk", "labels"))
    assert not np.array_equal(pictures("plain"), pictures("dusk"))


def test_a_second_run_replaces_the_first_and_nothing_else() -> None:
    demo("--photographs", 5)
    Path("photos/images/notes.txt").write_text("mine")
    demo("--photographs", 2, "--seed", 1)
    there = sorted(path.name for path in Path("photos/images").iterdir())
    assert there == ["000000.png", "000001.png", "notes.txt"]
    assert len(Path("photos/metadata.jsonl").read_text().splitlines()) == 2
    said = json.loads(Path("photos/photographs.json").read_text())
    assert said == {"photographs": 2, "style": "plain", "seed": 1}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--photographs", 2, "--out", "full"],
            "full: holds 'mine.txt' and no earlier photographs of the demo; pass an empty or new folder with "
            "--out",
        ),
        (
            ["--photographs", 2, "--out", "full/mine.txt"],
            "full/mine.txt: is a file, expected a folder for photographs; pass another --out",
        ),
        (["--style", "dusk"], "--style is for pictures of the renderer; pass --photographs N too"),
        (["--seed", 1], "--seed is for pictures of the renderer; pass --photographs N too"),
        (
            ["--photographs", 2, "--num", 3],
            "--num is for the demo's stages, and --photographs runs none; leave one of them out",
        ),
        (
            ["--photographs", 2, "--task", "keypoints"],
            "--task keypoints is for the demo's stages, and --photographs runs none; leave one of them out",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(words: list[object], line: str) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").touch()
    result = demo(*words)
    assert (result.exit_code, result.stderr) == (2, f"Error: {line}\n")
    assert [path.name for path in Path().iterdir()] == ["full"]
