"""An extraction that was interrupted and run again: the bytes of an undisturbed run, but for ``created``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.stores import store_bytes
from support.tiny import RESOLUTION, write_inputs
from support.variants import variants

import fstore
from pipeline.cli import main
from pipeline.inputs import generator as render_inputs
from pipeline.rendering.renderer import Renderer, computed_average_latent

NUM = 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of four latents, masks and keypoints, and of ``three.npy``, the latents but the first."""
    folder = write_inputs(tmp_path / "in", num=NUM)
    np.save(folder / "three.npy", np.load(folder / "latents.npy")[1:])
    points = np.random.default_rng(1).uniform(1, RESOLUTION - 1, (NUM, 3, 2))
    np.savez(folder / "keypoints.npz", keypoints=points, image_size=[RESOLUTION, RESOLUTION])
    monkeypatch.chdir(folder)
    return folder


def extract(store: str, *options: str) -> Result:
    words = ["--checkpoint", "checkpoint.pt", "--store", store, "--threads", "1", *options]
    return CliRunner().invoke(main, ["extract-features", *words])


@contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    """As by Ctrl-C when ``after`` images have been rendered."""
    render, calls = Renderer.render, []

    def counted(self, *arguments):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return render(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Renderer, "render", counted)
        yield


TASKS = [
    pytest.param(["--latents", "latents.npy", "--annotations", "masks"], id="masks"),
    pytest.param(
        ["--latents", "latents.npy", "--annotations", "keypoints.npz", "--task", "keypoints"], id="keypoints"
    ),
    pytest.param(
        ["--latents", "three.npy", "--annotations", "masks", "--image-zero", "mean"], id="image-zero-mean"
    ),
]


@pytest.mark.parametrize("layout", variants("pyramid", "dense"))
@pytest.mark.parametrize("options", variants(*TASKS))
def test_an_interrupted_run_ends_in_the_bytes_of_an_undisturbed_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], layout: str
) -> None:
    options = [*options, "--layout", layout]
    assert extract("whole.zarr", *options).exit_code == 0
    with interrupted(monkeypatch, after=2):
        assert extract("resumed.zarr", *options).exit_code == 130
    assert 0 < len(fstore.open("resumed.zarr")) < NUM
    moved = _moved_average(monkeypatch)
    assert extract("resumed.zarr", *options).exit_code == 0
    assert moved
    assert store_bytes(folder / "resumed.zarr") == store_bytes(folder / "whole.zarr")


def _moved_average(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From here on the average latent comes out otherwise, as with another number of threads."""
    calls: list[int] = []

    def moved(generator) -> np.ndarray:
        calls.append(1)
        return computed_average_latent(generator) + np.float32(1e-3)

    monkeypatch.setattr(render_inputs, "computed_average_latent", moved)
    return calls


def test_a_new_store_and_an_overwritten_one_have_the_average_latent_of_their_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--latents", "three.npy", "--annotations", "masks", "--image-zero", "mean"]
    assert extract("a.zarr", *flags).exit_code == 0
    before = fstore.open("a.zarr").average_latent
    _moved_average(monkeypatch)
    assert extract("a.zarr", *flags, "--overwrite").exit_code == 0
    after = fstore.open("a.zarr")
    np.testing.assert_array_equal(after.average_latent, before + np.float32(1e-3))
    np.testing.assert_array_equal(after.latents[0].compute()[0], after.average_latent)


def test_the_average_latent_of_another_generator_is_not_taken_over(folder: Path) -> None:
    flags = ["--latents", "latents.npy", "--annotations", "masks"]
    assert extract("a.zarr", *flags).exit_code == 0
    np.save("average.npy", np.zeros(16, np.float32))
    refused = extract("a.zarr", *flags, "--average-latent", "average.npy")
    assert refused.exit_code == 2 and "was begun with generator.average_latent" in refused.output


def test_other_settings_are_told_before_pictures_are_rendered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a store that was begun and holds nothing yet, where pictures are to be compared."""
    flags = ["--latents", "latents.npy", "--annotations", "masks"]
    with interrupted(monkeypatch, after=0):
        assert extract("begun.zarr", *flags).exit_code == 130
    assert len(fstore.open("begun.zarr")) == 0
    for number in range(NUM):
        Image.new("RGB", (RESOLUTION, RESOLUTION)).save(folder / "masks" / f"image_{number}.png")
    with interrupted(monkeypatch, after=0):  # nothing is rendered
        refused = extract("begun.zarr", *flags, "--truncation", "0.5")
    assert refused.exit_code == 2 and "was begun with generator.truncation = 0.7" in refused.output
    compared = extract("begun.zarr", *flags)  # the same settings: the pictures are looked at
    assert compared.exit_code == 2 and "4 of 4 annotated pictures" in compared.output
    overwritten = extract("begun.zarr", *flags, "--truncation", "0.5", "--overwrite")
    assert overwritten.exit_code == 2 and "4 of 4 annotated pictures" in overwritten.output
    assert fstore.open("begun.zarr").meta.generator["truncation"] == 0.7  # refused before it is deleted


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--annotation-format", "labelme"], "--annotation-format is labelme"),
        (["--label-map", "map.toml"], "--label-map is map.toml"),
        (["--ignore", "255"], "--ignore is 255"),
        (["--num-classes", "3"], "--num-classes is 3"),
    ],
)
def test_what_is_of_masks_is_refused_with_keypoints(folder: Path, flags: list[str], says: str) -> None:
    options = ["--latents", "latents.npy", "--annotations", "keypoints.npz", "--task", "keypoints"]
    refused = extract("k.zarr", *options, *flags)
    assert refused.exit_code == 2 and says in refused.output.splitlines()[-1]
    assert "the task is keypoints" in refused.output and not Path("k.zarr").exists()


def test_a_configuration_of_classes_serves_keypoints_too(folder: Path) -> None:
    """As the demo's, which says of the masks how many classes they have and how small ones go."""
    (folder / "classes.toml").write_text(
        "[annotations]\nmin_pixels = 0\nnum_classes = 2\n"
        '[[annotations.classes]]\nname = "background"\n[[annotations.classes]]\nname = "skin"\n'
    )
    options = ["--latents", "latents.npy", "--annotations", "keypoints.npz", "--task", "keypoints"]
    result = extract("k.zarr", *options, "--config", "classes.toml", "--min-pixels", "5")
    assert result.exit_code == 0, result.output
    assert len(fstore.open("k.zarr").meta.classes) == 4  # a background, and three keypoints


def test_keypoints_count_pixels_of_the_pictures_when_image_zero_is_skipped(folder: Path) -> None:
    np.save("three_points.npy", np.full((NUM, 1, 2), 48.0))
    (folder / "images").mkdir()
    for number in range(NUM):
        Image.new("RGB", (2 * RESOLUTION, 2 * RESOLUTION)).save(folder / "images" / f"image_{number}.png")
    options = ["--latents", "three.npy", "--annotations", "three_points.npy", "--task", "keypoints"]
    result = extract("k.zarr", *options, "--image-zero", "skip", "--no-check")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(fstore.open("k.zarr").keypoints[..., :2].compute(), np.full((3, 1, 2), 24))
    (folder / "images" / "image_2.png").unlink()
    refused = extract("other.zarr", *options, "--image-zero", "skip", "--no-check")
    assert refused.exit_code == 2 and "1 of 3 images have no picture" in refused.output
