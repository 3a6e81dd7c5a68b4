"""A dataset's labels against annotations of its images: which belong together, and the parts of a filter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from PIL import Image
from support.commands import dgan, done
from support.interpreters import INFO, saved
from support.small_datasets import write_dataset

import fstore
from pipeline.interpreter.files import load_interpreter
from pipeline.labelling.confusion import confusion, mean_iou

NUM, SHAPE = 6, (12, 16)  # rows 2 to 13 of the interpreter's grid of 16 x 16
DROPPED = (1, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``interpreter``, its ``dataset.zarr``, and ``truth``, masks of the images 0, 1, 3 and 4."""
    folder = tmp_path_factory.mktemp("annotated")
    sha256 = load_interpreter(saved(folder / "interpreter")).sha256
    write_dataset(
        folder / "dataset.zarr", INFO.classes, labels(), dropped=DROPPED, interpreter={"sha256": sha256}
    )
    (folder / "truth").mkdir()
    for image in (0, 1, 3, 4):
        np.save(folder / "truth" / f"{image}.npy", truth(image))
    return folder


def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 3, (NUM, *SHAPE)).astype(np.uint8)


def truth(image: int) -> np.ndarray:
    """The labels with an error in some pixels: more of them in later images."""
    mask = labels()[image]
    mask[: 2 * image + 1, :4] = 2
    return mask


def evaluated(folder: Path, tmp_path: Path, *more: object, annotations: Path | None = None) -> dict[str, Any]:
    out = tmp_path / "evaluation.json"
    words = ["evaluate", folder / "interpreter", "--store", folder / "dataset.zarr", "--out", out]
    done(*words, "--annotations", annotations or folder / "truth", *more)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_masks_are_compared_with_the_labels_of_the_image_of_their_number(
    folder: Path, tmp_path: Path
) -> None:
    figures = evaluated(folder, tmp_path)
    images = [0, 1, 3, 4]
    expected = np.zeros((3, 3), int)
    for image in images:
        np.add.at(expected, (truth(image).ravel(), labels()[image].ravel()), 1)
    assert figures["confusion"] == expected.tolist()
    assert figures["images"] == 4
    assert figures["annotations"] == {"location": str(folder / "truth"), "format": "masks"}
    assert figures["store"]["kind"] == "dataset"


def test_kept_and_dropped_images_are_measured_apart(folder: Path, tmp_path: Path) -> None:
    def miou(images: list[int]) -> float:
        sides = np.stack([truth(i) for i in images]), labels()[images]
        true, found = (torch.from_numpy(side).flatten() for side in sides)
        return mean_iou(confusion(true, found, 3))

    figures = evaluated(folder, tmp_path)
    assert figures["miou"] == pytest.approx(miou([0, 1, 3, 4]))
    assert figures["filter"]["kept"] == {"images": 2, "miou": pytest.approx(miou([0, 3]))}
    assert figures["filter"]["dropped"] == {"images": 2, "miou": pytest.approx(miou([1, 4]))}
    assert figures["filter"]["keep"] == fstore.open(folder / "dataset.zarr").meta.keep


def test_there_is_no_calibration_error_and_the_table_says_why(folder: Path, tmp_path: Path) -> None:
    words = ["--store", folder / "dataset.zarr", "--annotations", folder / "truth"]
    result = done("evaluate", folder / "interpreter", *words, "--out", tmp_path / "e.json")
    figures = json.loads((tmp_path / "e.json").read_text())
    assert figures["expected_calibration_error"] is None and figures["reliability"] is None
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("calibration error")]
    assert line.split(maxsplit=3)[2:] == ["-", "a dataset stores no probabilities"]
    assert "Calibration" not in (tmp_path / "e.svg").read_text().partition("</title>")[2]


def test_masks_of_the_whole_picture_lose_the_rows_that_are_cropped(folder: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    for image in (0, 1, 3, 4):
        np.save(whole / f"{image}.npy", np.pad(truth(image), ((2, 2), (0, 0))))
    figures = evaluated(folder, tmp_path, annotations=whole)
    assert figures["confusion"] == evaluated(folder, tmp_path)["confusion"]


def test_other_formats_give_the_same_figures(folder: Path, tmp_path: Path) -> None:
    """Index PNGs with a list of classes in another order beside them: names count, and not numbers."""
    masks = tmp_path / "masks"
    masks.mkdir()
    tables = "".join(f'[[classes]]\nname = "{name}"\n' for name in ("background", "hair", "skin"))
    (masks / "classes.toml").write_text(tables)
    for image in (0, 1, 3, 4):
        Image.fromarray(np.array([0, 2, 1], np.uint8)[truth(image)]).save(masks / f"image_{image}.png")
    assert (
        evaluated(folder, tmp_path, annotations=masks)["confusion"]
        == (evaluated(folder, tmp_path)["confusion"])
    )


def test_a_label_map_names_classes_and_pixels_that_count_nowhere(folder: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for image in (0, 1, 3, 4):
        mask = np.array([10, 20, 30], np.uint8)[truth(image)]
        mask[-1] = 77
        np.save(masks / f"{image}.npy", mask)
    (tmp_path / "map.toml").write_text(
        'rest = "ignore"\n[[classes]]\nname = "background"\nfrom = [10]\n'
        '[[classes]]\nname = "hair"\nfrom = [30]\n[[classes]]\nname = "skin"\nfrom = [20]\n'
    )
    figures = evaluated(folder, tmp_path, "--label-map", tmp_path / "map.toml", annotations=masks)
    expected = np.zeros((3, 3), int)
    for image in (0, 1, 3, 4):
        np.add.at(expected, (truth(image)[:-1].ravel(), labels()[image][:-1].ravel()), 1)
    assert figures["confusion"] == expected.tolist()
    assert figures["ignored_pixels"] == 4 * 16


def refusal(folder: Path, tmp_path: Path, *words: object) -> str:
    result = dgan("evaluate", folder / "interpreter", "--out", tmp_path / "e.json", *words)
    assert result.exit_code == 2, result.output
    assert not (tmp_path / "e.json").exists()
    (line,) = result.stderr.splitlines()
    return line


def test_annotations_of_images_that_are_not_there_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for image in (5, 6, 17):
        np.save(tmp_path / "masks" / f"{image}.npy", truth(0))
    line = refusal(folder, tmp_path, "--store", folder / "dataset.zarr", "--annotations", tmp_path / "masks")
    assert "annotates 2 images that" in line and "number 6, 17; expected numbers from 0 to 5" in line


def test_labels_that_are_no_class_are_refused_and_the_way_out_is_one_there_is(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks" / "0.npy", truth(0) + 3)
    words = ["--store", folder / "dataset.zarr", "--annotations"]
    line = refusal(folder, tmp_path, *words, tmp_path / "masks")
    assert line.endswith(": mend the mask, or say with --label-map what the label is")
    shape = {"label": "zebra", "points": [[0, 0], [4, 0], [4, 4]], "shape_type": "polygon"}
    size = {"imagePath": "0.png", "imageHeight": 12, "imageWidth": 16}
    (tmp_path / "0.json").write_text(json.dumps({"shapes": [shape], **size}))
    line = refusal(folder, tmp_path, *words, tmp_path)
    assert f"not among the classes (the classes of {folder / 'dataset.zarr'}): 'zebra'" in line
    assert line.endswith("; map them with --label-map")


def test_a_label_map_to_other_classes_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(
        '[[classes]]\nname = "background"\nfrom = [0]\n[[classes]]\nname = "door"\nfrom = [1, 2]\n'
    )
    words = ["--annotations", folder / "truth", "--label-map", tmp_path / "map.toml"]
    line = refusal(folder, tmp_path, "--store", folder / "dataset.zarr", *words)
    assert "map.toml: makes classes that" in line and "(door)" in line


@pytest.mark.parametrize("label", [3, 200])
def test_a_stored_label_that_is_no_class_is_damage(folder: Path, tmp_path: Path, label: int) -> None:
    store = tmp_path / "d.zarr"
    shutil.copytree(folder / "dataset.zarr", store)
    zarr.open_group(store)["labels"][3, 2, 1] = label
    words = ("evaluate", folder / "interpreter", "--store", store, "--annotations", folder / "truth")
    result = dgan(*words, "--out", tmp_path / "e.json")
    assert result.exit_code == 1
    says = (
        f"{store}: array 'labels', image 3: has label {label}, expected 0 to 2; `dgan verify` says what else"
    )
    assert says in result.stderr.splitlines()[-1]
    assert not (tmp_path / "e.json").exists()


def test_a_dataset_without_annotations_is_refused(folder: Path, tmp_path: Path) -> None:
    line = refusal(folder, tmp_path, "--store", folder / "dataset.zarr")
    assert "pass --annotations DIR" in line


def test_annotations_that_are_missing_are_refused(folder: Path, tmp_path: Path) -> None:
    line = refusal(folder, tmp_path, "--store", folder / "dataset.zarr", "--annotations", tmp_path / "none")
    assert "none: does not exist" in line


def test_a_dataset_of_another_interpreter_is_refused(folder: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "other.zarr", INFO.classes, labels(), interpreter={"sha256": "ab" * 32})
    line = refusal(folder, tmp_path, "--store", tmp_path / "other.zarr", "--annotations", folder / "truth")
    assert "was labelled by an interpreter with sha256 abababababab..." in line
