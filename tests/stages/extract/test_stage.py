"""Extraction against the fixtures: what the original implementations computed, in the store to one float16
rounding more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from support.places import FIXTURES
from support.tiny import LATENT_SIZE, write_checkpoint, write_inputs
from support.variants import variants

import fstore
from fstore.interpolate import resize_pixels
from pipeline.checkpoints.read import load_generator
from pipeline.cli import main
from pipeline.rendering.latents import array_sha256
from pipeline.rendering.renderer import (
    Renderer,
    RenderSettings,
    computed_average_latent,
    picture_float,
    to_uint8,
)

CASES = [
    pytest.param("stylegan1_64", 64, (0, 64), id="64px-whole"),
    pytest.param("stylegan1_128_out64_crop", 64, (8, 56), id="128px-reduced-to-64-rows-8-to-56"),
]


@pytest.fixture
def case(request: pytest.FixtureRequest) -> tuple[Path, int, tuple[int, int], dict[str, np.ndarray]]:
    name, side, rows = request.param
    folder = FIXTURES / name
    if not folder.exists():
        pytest.skip(f"fixture {name} is not beside this checkout (expected in ../shared/fixtures)")
    return folder, side, rows, dict(np.load(folder / "expected.npz"))


def params() -> list[object]:
    return [pytest.param((p.values[0], p.values[1], p.values[2]), id=p.id) for p in CASES]


@pytest.mark.parametrize("case", params(), indirect=True)
def test_the_float32_generator_reproduces_images_w_plus_and_features(case) -> None:
    folder, side, rows, expected = case
    generator = load_generator(folder / "stylegan1.for_g_all.pt").generator
    settings = RenderSettings(0.7, 8, "zero", 0, (side, side), rows)
    renderer = Renderer(
        generator, settings, np.load(folder / "avg_latent_stylegan1.npy"), torch.device("cpu")
    )
    latents = np.load(folder / "latent_stylegan1.npy")
    close(renderer.w_plus(latents, "z"), expected["w_plus"])
    rendered = renderer.render(latents, "z", range(len(latents)))
    pictures = torch.stack([picture_float(image, (side, side), rows) for image in rendered.images])
    close(pictures.permute(0, 3, 1, 2), expected["images_float"])
    difference = to_uint8(pictures).numpy().astype(int) - expected["images"]
    assert np.abs(difference).max() <= 1  # truncation turns a float32 rounding into one step
    assert (difference != 0).mean() < 1e-3
    index = torch.from_numpy(expected["pixel_index"])
    for image in range(len(latents)):
        here = index[:, 0] == image
        parts = []
        for values in rendered.features:
            native = values[image].permute(1, 2, 0)  # [h, w, c]
            parts.append(
                resize_pixels(
                    native, native.shape[:2], (side, side), index[here, 1] + rows[0], index[here, 2]
                )
            )
        close(
            torch.cat(parts, 1),
            expected["pixel_features"][here.numpy()],
            np.abs(expected["pixel_features"]).max(),
        )


def close(values: torch.Tensor, expected: np.ndarray, scale: float | None = None) -> None:
    np.testing.assert_allclose(
        values.numpy(), expected, rtol=0, atol=1e-4 * (scale or np.abs(expected).max())
    )


@pytest.mark.parametrize("layout", variants("pyramid", "dense"))
@pytest.mark.parametrize("case", variants(*params()[::-1]), indirect=True)
def test_the_store_reproduces_them_to_one_float16_rounding_more(case, layout: str, tmp_path: Path) -> None:
    folder, side, rows, expected = case
    num, height, width = expected["images"].shape[:3]
    (tmp_path / "masks").mkdir()
    for image in range(num):
        np.save(
            tmp_path / "masks" / f"image_mask{image}.npy", np.arange(side * width).reshape(side, width) % 3
        )
    flags = {
        "checkpoint": folder / "stylegan1.for_g_all.pt",
        "latents": folder / "latent_stylegan1.npy",
        "average-latent": folder / "avg_latent_stylegan1.npy",
        "annotations": tmp_path / "masks",
        "noise": "zero",
        "resolution": side,
        "crop-rows": f"{rows[0]}:{rows[1]}",
        "layout": layout,
        "store": tmp_path / "f.zarr",
    }
    words = ["extract-features", *(word for name, value in flags.items() for word in (f"--{name}", value))]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    store = fstore.open(tmp_path / "f.zarr")
    assert store.shape == (num, height, width, expected["pixel_features"].shape[1])
    found = store.pixels(*expected["pixel_index"].T).astype(np.float32)
    wanted = expected["pixel_features"]
    # A stored value is rounded to float16 before and after resizing; one rounding is half an ulp, 2^-11 of
    # the value.
    tolerance = 1e-4 * np.abs(wanted).max() + 2**-11 * (np.abs(wanted) + layer_scale(store, expected))
    assert (np.abs(found - wanted) <= tolerance).all()
    assert np.abs(store.images.compute().astype(int) - expected["images"]).max() <= 1
    assert store.masks.shape == (num, height, width)


def layer_scale(store: fstore.FeatureStore, expected: dict[str, np.ndarray]) -> np.ndarray:
    """(C,) largest magnitude of each layer's features: what rounding a neighbour by half an ulp can add."""
    wanted = np.abs(expected["pixel_features"])
    return np.concatenate(
        [
            np.full(la.channels, wanted[:, la.offset : la.offset + la.channels].max())
            for la in store.meta.layers
        ]
    )


def test_the_average_latent_is_the_mean_of_mapped_samples_and_repeats() -> None:
    folder = FIXTURES / "stylegan1_64"
    if not folder.exists():
        pytest.skip("fixture stylegan1_64 is not beside this checkout (expected in ../shared/fixtures)")
    generator = load_generator(folder / "stylegan1.for_g_all.pt").generator
    first = computed_average_latent(generator)
    assert first.shape == (512,)
    np.testing.assert_allclose(computed_average_latent(generator), first, atol=1e-6 * np.abs(first).max())
    with torch.no_grad():
        other = (
            generator.mapping(torch.randn(8000, 512, generator=torch.Generator().manual_seed(1)))
            .mean(0)
            .numpy()
        )
        spread = (
            generator.mapping(torch.randn(1000, 512, generator=torch.Generator().manual_seed(2)))
            .std(0)
            .numpy()
        )
    assert (np.abs(first - other) < 6 * spread * np.sqrt(2 / 8000)).all()


def test_random_noise_differs_between_images_and_repeats_with_the_image(tmp_path: Path) -> None:
    generator = load_generator(write_checkpoint(tmp_path / "g.pt")).generator
    average = computed_average_latent(generator)
    latents = np.zeros((2, LATENT_SIZE), np.float32) + 0.5

    def images(mode: str, indices: list[int]) -> torch.Tensor:
        settings = RenderSettings(1.0, 8, mode, 0, (32, 32), (0, 32))
        return (
            Renderer(generator, settings, average, torch.device("cpu")).render(latents, "z", indices).images
        )

    constant, random = images("const", [0, 1]), images("random", [0, 1])
    assert torch.equal(constant[0], constant[1])
    assert not torch.allclose(random[0], random[1])
    assert torch.equal(random[1], images("random", [5, 1])[1])
    assert not torch.allclose(images("zero", [0, 1]), constant)


# --- inputs and their pairing, through the command ---


def run(folder: Path, *options: object) -> Result:
    flags = ["--checkpoint", folder / "checkpoint.pt", "--annotations", folder / "masks", *options]
    words = ["extract-features", *flags, "--store", folder / "f.zarr", "--overwrite"]
    return CliRunner().invoke(main, [str(word) for word in words])


def stored(result: Result, folder: Path) -> fstore.FeatureStore:
    assert result.exit_code == 0, result.output
    store = fstore.open(folder / "f.zarr")
    assert isinstance(store, fstore.FeatureStore)
    return store


def test_seeds_give_what_the_same_latents_in_a_file_give(tmp_path: Path) -> None:
    folder = write_inputs(tmp_path / "in", num=3)
    rows = [np.random.RandomState(seed).randn(1, LATENT_SIZE)[0] for seed in range(3)]
    np.save(folder / "nvidia.npy", rows)
    by_file = stored(run(folder, "--latents", folder / "nvidia.npy"), folder)
    features, inputs = by_file.features.compute(), by_file.meta.inputs
    by_seeds = stored(run(folder, "--seeds", "0-2"), folder)
    np.testing.assert_array_equal(by_seeds.features.compute(), features)
    assert by_seeds.meta.inputs == inputs  # the same run: either resumes the other's store
    both = run(folder, "--seeds", "0-2", "--latents", folder / "nvidia.npy")
    assert both.exit_code == 2 and "one of --latents and --seeds" in both.output
    assert run(folder, "--seeds", "0-2", "--latent-space", "w").exit_code == 2


def test_a_folder_of_latents_is_paired_by_number(tmp_path: Path) -> None:
    folder = write_inputs(tmp_path / "in", num=4)
    latents = np.load(folder / "latents.npy")
    (folder / "each").mkdir()
    for number in (0, 1, 3):
        np.save(folder / "each" / f"latents_image_{number}.npy", latents[number])
    (folder / "masks" / "image_mask2.npy").unlink()
    store = stored(run(folder, "--latents", folder / "each"), folder)
    np.testing.assert_array_equal(store.latents.compute(), latents[[0, 1, 3]].astype(np.float32))
    assert store.meta.inputs["image_numbers"] == [0, 1, 3]


def test_the_released_off_by_one_is_recognised_and_rendered(tmp_path: Path) -> None:
    folder = write_inputs(tmp_path / "in", num=4)
    latents = np.load(folder / "latents.npy").astype(np.float32)[1:]
    np.save(folder / "three.npy", latents)
    result = run(folder, "--latents", folder / "three.npy")
    assert "image 0 is taken as the average latent" in result.stderr
    store = stored(result, folder)
    assert store.meta.inputs["image_zero"] == "mean"
    assert (len(store), store.meta.generator["latent_space"]) == (4, "w+")
    generator = load_generator(folder / "checkpoint.pt").generator
    average = computed_average_latent(generator)
    settings = RenderSettings(0.7, generator.default_truncation_layers, "const", 0, (32, 32), (0, 32))
    renderer = Renderer(generator, settings, average, torch.device("cpu"))
    with torch.inference_mode():
        wanted = [average[None].repeat(generator.num_w_layers, 0)]
        wanted += [renderer.w_plus(latents[i : i + 1], "z")[0].numpy() for i in range(3)]
    np.testing.assert_allclose(store.latents.compute(), wanted, rtol=1e-5, atol=1e-5)
    pictures = [renderer.picture(renderer.render(latents[:1], "z", [1]).images[0])]
    assert np.abs(store.images.compute()[1].astype(int) - pictures[0]).max() <= 1
    again = stored(run(folder, "--latents", folder / "three.npy", "--image-zero", "mean"), folder)
    assert again.meta.inputs == store.meta.inputs


def test_image_zero_can_be_left_out(tmp_path: Path) -> None:
    folder = write_inputs(tmp_path / "in", num=4)
    np.save(folder / "three.npy", np.load(folder / "latents.npy")[1:])
    whole = stored(run(folder, "--latents", folder / "latents.npy"), folder)
    images, masks = whole.images.compute(), whole.masks.compute()
    store = stored(run(folder, "--latents", folder / "three.npy", "--image-zero", "skip"), folder)
    np.testing.assert_array_equal(store.images.compute(), images[1:])
    np.testing.assert_array_equal(store.masks.compute(), masks[1:])
    assert store.meta.inputs["image_zero"] == "skip" and store.meta.generator["latent_space"] == "z"


def test_the_average_latent_as_image_0_takes_one_row_or_enough(tmp_path: Path) -> None:
    folder = write_inputs(tmp_path / "in", num=4)
    np.save(folder / "three.npy", np.load(folder / "latents.npy")[1:])
    options = ["--latents", folder / "three.npy", "--truncation-layers", "2"]
    for rows, layers in ((1, 18), (18, 18), (9, 9)):
        average = np.random.default_rng(0).normal(size=(rows, LATENT_SIZE)).astype(np.float32)
        np.save(folder / "average.npy", average)
        store = stored(run(folder, *options, "--average-latent", folder / "average.npy"), folder)
        assert store.latents.shape == (4, layers, LATENT_SIZE)
        np.testing.assert_array_equal(store.latents.compute()[0], np.broadcast_to(average, (layers, 16)))
    np.save(folder / "average.npy", np.zeros((3, LATENT_SIZE)))
    result = run(folder, *options, "--average-latent", folder / "average.npy")
    assert result.exit_code == 2 and "has 3 layers and is image 0" in result.output


def test_a_plain_stores_attribute_is_as_ever(tmp_path: Path) -> None:
    folder = write_inputs(tmp_path / "in", num=2)
    store = stored(run(folder, "--latents", folder / "latents.npy"), folder)
    latents = np.load(folder / "latents.npy").astype(np.float32)
    assert set(store.meta.inputs) == {"latents_sha256", "masks_sha256"}
    assert store.meta.inputs["latents_sha256"] == array_sha256(latents)
    assert "class_label" not in store.meta.generator
