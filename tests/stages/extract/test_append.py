"""``dgan extract-features`` on a store that is there: in every task and layout, what one run writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.stores import store_bytes
from support.tiny import RESOLUTION, write_inputs
from support.variants import variants

import fstore
from fstore import format as fmt
from pipeline.cli import main
from pipeline.rendering.renderer import Renderer
from pipeline.stages.extract.begun import change_line

NUM = 5


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: five latents, masks and keypoints, and the first three of them in ``first``."""
    folder = write_inputs(tmp_path / "in", num=NUM)
    monkeypatch.chdir(folder)
    latents, points = np.load("latents.npy"), np.random.default_rng(1).uniform(1, RESOLUTION - 1, (NUM, 3, 2))
    for name, num in (("first", 3), (".", NUM)):
        Path(name, "masks").mkdir(parents=True, exist_ok=True)
        for image in range(num if name == "first" else 0):
            shutil.copy(f"masks/image_mask{image}.npy", f"{name}/masks")
        np.save(Path(name, "latents.npy"), latents[:num])
        np.save(Path(name, "but_one.npy"), latents[1:num])  # DatasetGAN's, whose image 0 is the average
        np.savez(Path(name, "points.npz"), keypoints=points[:num], image_size=[RESOLUTION, RESOLUTION])
    return folder


def extract(store: str, name: str, *options: str) -> Result:
    words = ["--checkpoint", "checkpoint.pt", "--store", store, "--threads", "1", *options]
    result = CliRunner().invoke(main, ["extract-features", *(word.replace("@", name) for word in words)])
    assert result.exit_code == 0, result.output
    return result


TASKS = [
    pytest.param(["--latents", "@/latents.npy", "--annotations", "@/masks"], id="masks"),
    pytest.param(
        ["--latents", "@/latents.npy", "--annotations", "@/points.npz", "--task", "keypoints"], id="keypoints"
    ),
    pytest.param(
        ["--latents", "@/but_one.npy", "--annotations", "@/masks", "--image-zero", "mean"], id="image-zero"
    ),
]


@pytest.mark.parametrize("layout", variants("dense", "pyramid"))
@pytest.mark.parametrize("options", variants(*TASKS))
def test_an_appended_store_is_that_of_one_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], layout: str
) -> None:
    options = [*options, "--layout", layout]
    extract("grown.zarr", "first", *options)
    render, rendered = Renderer.render, []

    def counted(self: Renderer, *arguments: object) -> object:
        rendered.append(arguments[2])
        return render(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Renderer, "render", counted)
        assert "2 images added to the 3 there; nothing else" in extract("grown.zarr", ".", *options).stderr
    assert rendered == [[3], [4]]
    extract("whole.zarr", ".", *options)
    assert store_bytes(folder / "grown.zarr") == store_bytes(folder / "whole.zarr")


def test_a_batch_that_was_short_is_rendered_again_for_its_new_images_alone(folder: Path) -> None:
    """The batch of images 2 and 3 had two of image 2. Its features are kept; they differ by no more than a
    rounding from those of one run.
    """
    options = ["--latents", "@/latents.npy", "--annotations", "@/masks", "--render-batch", "2"]
    extract("grown.zarr", "first", *options)
    before = fstore.open("grown.zarr").features[2].compute()
    extract("grown.zarr", ".", *options)
    extract("whole.zarr", ".", *options)
    grown, whole = (fstore.open(name).features.compute() for name in ("grown.zarr", "whole.zarr"))
    np.testing.assert_array_equal(grown[2], before)
    np.testing.assert_array_equal(np.delete(grown, 2, 0), np.delete(whole, 2, 0))
    np.testing.assert_allclose(grown[2], whole[2], rtol=2e-3, atol=2e-3)


def test_a_corrected_keypoint_is_written_alone(folder: Path) -> None:
    options = ["--latents", "@/latents.npy", "--annotations", "@/points.npz", "--task", "keypoints"]
    extract("k.zarr", ".", *options)
    points = np.load("points.npz")["keypoints"]
    points[3, 1] = (9, 11)
    np.savez("points.npz", keypoints=points, image_size=[RESOLUTION, RESOLUTION])
    assert "the keypoints of image 3 corrected; nothing else" in extract("k.zarr", ".", *options).stderr
    extract("whole.zarr", ".", *options)
    assert store_bytes(folder / "k.zarr") == store_bytes(folder / "whole.zarr")
    assert fstore.open("k.zarr").keypoints[3, 1].compute().tolist() == [9, 11, 1]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("a b c", "a b c d e", "classes d, e added"),
        ("a b c d", "a b c", "class d dropped"),
        ("a b c", "a x c", "class b to x renamed"),
        ("a b c", "a x b c", "classes b to x, c to b renamed, class c added"),
        ("a b c d e f g h x", "a b c d e f g h", "class x dropped"),
    ],
)
def test_what_is_said_of_classes_names_those_that_change(before: str, after: str, says: str) -> None:
    """Of one that was put between two others too: what was label 1 has another name now."""
    lists = [
        tuple(fmt.ClassInfo(i, name, "#808080") for i, name in enumerate(names.split()))
        for names in (before, after)
    ]
    revision = fstore.Revision(3, 3, (0, 1, 2), (), *lists)
    expected = f"f.zarr: {says}; nothing else in it is written"
    assert change_line("f.zarr", revision, (0, 1, 2), keypoints=False) == expected
