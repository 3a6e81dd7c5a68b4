"""The re-render check: JPEG, size and crop pass; another latent, order, truncation or noise is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from support.places import FIXTURES
from support.renders import RememberingRenderer
from support.tiny import input_flags, write_inputs
from support.variants import variants

import fstore
from pipeline import embedded
from pipeline.checkpoints.read import LoadedGenerator, load_generator
from pipeline.cli import main
from pipeline.errors import UsageError
from pipeline.inputs.pictures import check as render_check
from pipeline.inputs.pictures.check import check_pictures, difference, view_of
from pipeline.inputs.pictures.find import find_pictures, picture_size, reduced
from pipeline.rendering.latents import LatentSet
from pipeline.rendering.renderer import RenderSettings, computed_average_latent

CPU = torch.device("cpu")
NUM = 4
DEMO = RenderSettings(0.7, 8, "const", 0, (64, 64), (0, 64))


@pytest.fixture(scope="module", autouse=True)
def _each_picture_is_rendered_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render_check, "Renderer", RememberingRenderer)
        yield


@pytest.fixture(scope="module")
def loaded() -> LoadedGenerator:
    return load_generator(embedded.checkpoint_path())


@pytest.fixture(scope="module")
def average(loaded: LoadedGenerator) -> np.ndarray:
    return computed_average_latent(loaded.generator)


def rendered(generator, settings, average, latents, space="z") -> list[np.ndarray]:
    renderer = RememberingRenderer(generator, settings, average, CPU)
    return [
        renderer.picture(renderer.render(latents[i : i + 1], space, [i]).images[0])
        for i in range(len(latents))
    ]


def save(folder: Path, pictures: list[np.ndarray], suffix=".png", scale=1.0, **options) -> dict[int, Path]:
    folder.mkdir(exist_ok=True)
    paths = {}
    for number, picture in enumerate(pictures):
        image = Image.fromarray(picture)
        size = (round(image.width * scale), round(image.height * scale))
        paths[number] = folder / f"image_{number}{suffix}"
        image.resize(size, Image.Resampling.LANCZOS).save(paths[number], **options)
    return paths


def check(loaded, average, paths, settings=DEMO, latents=None) -> list[str]:
    values = embedded.annotated_latents(NUM) if latents is None else latents
    said: list[str] = []
    try:
        check_pictures(
            paths,
            LatentSet(values, "z", tuple(range(len(values)))),
            loaded.generator,
            settings,
            average,
            CPU,
            said.append,
        )
    except UsageError as error:
        assert "\n" not in str(error) and "--no-check" in str(error)
        return [*said, f"refused: {error}"]
    return said


# --- what passes ---


@pytest.mark.parametrize(
    ("suffix", "scale", "options"),
    [
        (".png", 1, {}),
        (".jpg", 1, {"quality": 75}),  # what Pillow saves by default, as make_training_data does
        (".jpg", 1, {"quality": 50}),
        (".jpg", 1, {"quality": 30}),
        (".jpg", 8, {"quality": 50}),  # shown larger to the annotator
        (".png", 0.5, {}),
        (".webp", 2, {"quality": 40}),
    ],
)
@pytest.mark.parametrize("crop_rows", [(0, 64), (8, 56)])
def test_the_right_pictures_pass(loaded, average, tmp_path, crop_rows, suffix, scale, options) -> None:
    settings = replace(DEMO, crop_rows=crop_rows)
    pictures = rendered(loaded.generator, settings, average, embedded.annotated_latents(NUM))
    (said,) = check(loaded, average, save(tmp_path, pictures, suffix, scale, **options), settings)
    assert said.startswith(f"{NUM} of {NUM} annotated pictures are what the latents render")
    assert "--truncation" not in said and "--noise" not in said


@pytest.mark.parametrize(
    ("turn", "store"),  # how a picture is stored that EXIF 2.32, section 4.6.4, says how to show
    [
        (3, Image.Transpose.ROTATE_180),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pictures_are_turned_as_their_exif_says(loaded, average, tmp_path, suffix, turn, store) -> None:
    settings = replace(DEMO, crop_rows=(8, 56))  # not square: the size is turned too
    pictures = rendered(loaded.generator, settings, average, embedded.annotated_latents(NUM))
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = [np.asarray(Image.fromarray(picture).transpose(store)) for picture in pictures]
    paths = save(tmp_path, stored, suffix, exif=exif)
    assert picture_size(paths[0]) == (48, 64)
    (said,) = check(loaded, average, paths, settings)
    assert said.startswith(f"{NUM} of {NUM} annotated pictures are what the latents render")


def test_uncropped_pictures_pass_where_rows_are_cropped(loaded, average, tmp_path) -> None:
    pictures = rendered(loaded.generator, DEMO, average, embedded.annotated_latents(NUM))
    said = check(loaded, average, save(tmp_path, pictures), replace(DEMO, crop_rows=(8, 56)))
    assert len(said) == 1 and "refused" not in said[0]


def test_one_picture_of_many_is_enough(loaded, average, tmp_path) -> None:
    pictures = rendered(loaded.generator, DEMO, average, embedded.annotated_latents(NUM))
    paths = save(tmp_path, pictures, ".jpg")
    (said,) = check(loaded, average, {2: paths[2]})
    assert (
        said.startswith(f"1 of {NUM} annotated pictures are") and "of the other 3 no picture is found" in said
    )
    assert "refused" in check(loaded, average, {1: paths[2]})[-1]


# --- what does not ---


@pytest.mark.parametrize("options", [{"suffix": ".png"}, {"suffix": ".jpg", "quality": 75}])
@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({"truncation": 1.0}, "--truncation 1.0"),
        ({"truncation": 0.5}, "--truncation 0.5 --truncation-layers 8"),
        ({"truncation_layers": 18}, "--truncation 0.7 --truncation-layers 18"),
    ],
)
def test_another_truncation_is_found_and_named(loaded, average, tmp_path, change, flags, options) -> None:
    latents = embedded.annotated_latents(NUM)
    pictures = rendered(loaded.generator, replace(DEMO, **change), average, latents)
    *lines, last = check(loaded, average, save(tmp_path, pictures, **options))
    assert len(lines) > NUM // 2 and all("grey levels" in line for line in lines)
    assert last.startswith("refused") and f"with {flags} they" in last


@pytest.mark.parametrize(
    ("truth", "run", "advice"),
    [
        (0.8, 0.7, "with --truncation 0.8 --truncation-layers 8 they would differ by 0.0: pass that"),
        (0.9, 0.7, "with --truncation 0.9 --truncation-layers 8 they would differ by 0.0: pass that"),
        (0.4, 0.7, "with --truncation 0.4 --truncation-layers 8 they would differ by 0.0: pass that"),
        (1.0, 0.9, "with --truncation 1.0 they would differ by 0.0: pass that"),
        (0.85, 0.7, "they fit best near psi 0.85"),
        (0.7, 0.85, "with --truncation 0.7 --truncation-layers 8 they would differ by 0.0: pass that"),
    ],
)
def test_a_truncation_is_named_though_it_is_near(loaded, average, tmp_path, truth, run, advice) -> None:
    """All of these differ by less than the limit, and a picture saved without loss says which it is."""
    latents, settings = embedded.annotated_latents(NUM), replace(DEMO, truncation=run)
    pictures = rendered(loaded.generator, replace(DEMO, truncation=truth), average, latents)
    *_, last = check(loaded, average, save(tmp_path, pictures), settings)
    assert last.startswith("refused") and advice in last


@pytest.mark.parametrize("quality", [75, 50])
def test_a_truncation_saved_as_jpeg_is_named_too(loaded, average, tmp_path, quality) -> None:
    latents, settings = embedded.annotated_latents(NUM), replace(DEMO, truncation=0.5)
    pictures = rendered(loaded.generator, replace(DEMO, truncation=0.9), average, latents)
    *_, last = check(loaded, average, save(tmp_path, pictures, ".jpg", quality=quality), settings)
    assert last.startswith("refused") and "--truncation 0.9 --truncation-layers 8 they" in last
    assert last.split("; ")[-1].count("pass that") == 1


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (3, 2, 1, 0), (1, 2, 3, 0)])
def test_pictures_in_another_order_are_named_with_what_they_fit(loaded, average, tmp_path, order) -> None:
    own = rendered(loaded.generator, DEMO, average, embedded.annotated_latents(NUM))
    *lines, last = check(loaded, average, save(tmp_path, [own[i] for i in order], ".jpg", quality=50))
    moved = [image for image in range(NUM) if order[image] != image]
    assert [line.split(":")[0] for line in lines] == [f"image_{image}.jpg" for image in moved]
    for line, image in zip(lines, moved, strict=True):
        assert line.endswith(f"from that of the latent of image {order[image]}") and "expected <" in line
    assert f"{len(moved)} of {NUM}" in last and "check the order" in last


def test_an_off_by_one_points_to_the_average_latent(loaded, average, tmp_path) -> None:
    own = rendered(loaded.generator, DEMO, average, embedded.annotated_latents(NUM))
    mean = rendered(loaded.generator, DEMO, average, average[None], "w")
    *lines, last = check(loaded, average, save(tmp_path, mean + own[:-1], ".jpg"))
    assert lines[0].endswith("from that of the average latent") and "--image-zero mean" in last


def test_pictures_of_other_latents_are_refused(loaded, average, tmp_path) -> None:
    others = embedded.annotated_latents(NUM, seed=1)
    *lines, last = check(loaded, average, save(tmp_path, rendered(loaded.generator, DEMO, average, others)))
    assert len(lines) == NUM and "check the checkpoint, the latents" in last


@pytest.mark.parametrize("name", variants("stylegan1_64", "stylegan1_128_out64_crop"))
def test_the_fixtures_own_images_pass_and_show_their_noise_and_truncation(tmp_path: Path, name: str) -> None:
    folder = FIXTURES / name
    if not folder.exists():
        pytest.skip(f"fixture {name} is not beside this checkout (expected in ../shared/fixtures)")
    images = np.load(folder / "expected.npz")["images"]
    latents = np.load(folder / "latent_stylegan1.npy").astype(np.float32)
    average = np.load(folder / "avg_latent_stylegan1.npy").astype(np.float32)
    loaded = load_generator(folder / "stylegan1.for_g_all.pt")
    rows = (0, 64) if images.shape[1] == 64 else (8, 56)
    settings = RenderSettings(0.7, 8, "zero", 0, (64, 64), rows)
    far, close = (0.8, 0.6), (0.75, 0.65)  # what is told apart in a JPEG file is told of the closer ones
    for suffix, options, others in ((".png", {}, far + close), (".jpg", {"quality": 50}, close)):
        paths = save(tmp_path / suffix[1:], list(images), suffix, **options)
        assert "refused" not in check(loaded, average, paths, settings, latents)[-1]
        const = check(loaded, average, paths, replace(settings, noise="const"), latents)
        assert "with --noise zero they" in const[-1] and const[-1].startswith("refused")
        for psi in others:
            near = check(loaded, average, paths, replace(settings, truncation=psi), latents)[-1]
            assert "with --truncation 0.7 --truncation-layers 8 they would" in near, (psi, near)
        whole = check(loaded, average, paths, replace(settings, truncation=1.0), latents)
        assert "with --truncation 0.7 --truncation-layers 8 they" in whole[-1]


@pytest.mark.parametrize(
    ("name", "checkpoint", "latents", "space"),
    [
        ("stylegan2_rosinality_32", "stylegan2_rosinality.pt", "latents_w_plus.npy", "w+"),
        ("stylegan2_ada_32", "network-snapshot.pkl", "latents_z.npy", "z"),
    ],
)
def test_stylegan2s_fixtures_pass_as_jpeg(tmp_path: Path, name, checkpoint, latents, space) -> None:
    folder = FIXTURES / name
    if not folder.exists():
        pytest.skip(f"fixture {name} is not beside this checkout (expected in ../shared/fixtures)")
    loaded = load_generator(folder / checkpoint)
    images = np.load(folder / "expected.npz")["images_float"].transpose(0, 2, 3, 1) * 127.5 + 127.5
    paths = save(tmp_path, list(images.clip(0, 255).astype(np.uint8)), ".jpg")
    values = np.load(folder / latents).astype(np.float32)
    generator, average = loaded.generator, loaded.average_latent
    settings = RenderSettings(0.7, generator.default_truncation_layers, "const", 0, (32, 32), (0, 32))
    said: list[str] = []

    def compare(order: np.ndarray) -> None:
        ordered = LatentSet(values[order], space, tuple(range(len(values))))
        check_pictures(paths, ordered, generator, settings, average, CPU, said.append)

    compare(np.arange(len(values)))
    assert len(said) == 1
    with pytest.raises(UsageError, match="check the order"):
        compare(np.arange(len(values))[::-1])


def test_pictures_that_fit_are_compared_with_their_own_render_alone(
    loaded, average, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how much renders differ is told from some of them: the work is linear in the pictures."""
    num, most = 10, 4
    latents = embedded.annotated_latents(num)
    paths = save(tmp_path, rendered(loaded.generator, DEMO, average, latents))
    calls = []

    def counted(a: np.ndarray, b: np.ndarray) -> float:
        calls.append(1)
        return difference(a, b)

    monkeypatch.setattr(render_check, "difference", counted)
    monkeypatch.setattr(render_check, "MAX_COMPARED", most)
    (said,) = check(loaded, average, paths, latents=latents)
    assert said.startswith(f"{num} of {num} annotated pictures are what the latents render")
    assert len(calls) == num + most * (most - 1) // 2


# --- parts ---


def test_the_figure_is_the_root_mean_square_in_grey_levels() -> None:
    a = np.zeros((2, 2, 3), np.float32)
    b = a.copy()
    b[0, 0] = 10.0  # one pixel of four
    assert difference(a, b) == 5.0
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    boxes = picture.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced(picture, (4, 6)) - boxes).max() <= 1  # Pillow rounds each pass


@pytest.mark.parametrize(
    ("size", "rows"),
    [((512, 512), (0, 512)), ((384, 512), (64, 448)), ((96, 128), (64, 448)), ((333, 333), (0, 512))],
)
def test_a_picture_shows_the_whole_grid_or_the_kept_rows(size, rows) -> None:
    settings = replace(DEMO, grid=(512, 512), crop_rows=(64, 448))
    assert view_of(size, settings, Path("p.png")).rows == rows


def test_a_picture_of_another_aspect_is_refused() -> None:
    settings = replace(DEMO, grid=(512, 512), crop_rows=(64, 448))
    with pytest.raises(UsageError, match=r"p\.png: the picture is 300 x 512 .* 512 x 512 or 384 x 512"):
        view_of((300, 512), settings, Path("p.png"))


def write_picture(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8)).save(path)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["image_0.png", "image_1.jpg"], ["image_0.png", "image_1.jpg"]),
        (["image0.jpg", "1.jpeg", "latents_image_2.png"], ["image0.jpg", "1.jpeg", "latents_image_2.png"]),
        (["image_0.png", "image_0.jpg"], ["image_0.png"]),  # what lost nothing
        (["image_7.png", "notes.png", "image_mask1.png"], []),  # not annotated, no number, a mask's name
        (["images/image_2.png"], ["images/image_2.png"]),
        (["../images/2.png"], ["../images/2.png"]),
        (["images/default/image_1.png"], ["images/default/image_1.png"]),  # CVAT's archives
        (["4f2a-frame_1.png", "00_2_jpg.rf.ab12.jpg"], ["4f2a-frame_1.png", "00_2_jpg.rf.ab12.jpg"]),
        (["overview_0.png", "image_1.png"], ["image_1.png"]),  # plain names go before others
        (["car_1.png", "bus_1.png"], []),  # which is it?
        (["1_hair.png", "shape_1_overlay.png", "label1.png"], []),  # masks and what was made of them
    ],
)
def test_pictures_are_found_beside_the_annotations(tmp_path: Path, names, found) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in names:
        write_picture((masks / name).resolve())
    wanted = [(masks / name).resolve() for name in found]
    paths = find_pictures(None, masks, range(3)).paths
    assert [path.resolve() for path in paths.values()] == wanted


def test_files_that_macos_leaves_beside_pictures_are_none(tmp_path: Path) -> None:
    write_picture(tmp_path / "image_0.png")
    (tmp_path / "._image_0.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "._image_1.png").write_bytes(b"\0\5\x16\7")
    paths = find_pictures(None, tmp_path, range(3)).paths
    assert paths == {0: tmp_path / "image_0.png"}


def test_masks_are_not_taken_for_pictures(tmp_path: Path) -> None:
    write_picture(tmp_path / "0.png", "L")
    write_picture(tmp_path / "1.png", "P")
    write_picture(tmp_path / "2.png")  # a colour mask, which the annotations name
    (tmp_path / "image_0.jpg").write_bytes(b"no picture")
    assert find_pictures(None, tmp_path, range(3), taken=["2.png"]).paths == {}
    assert list(find_pictures(None, tmp_path, range(3)).paths) == [2]


def test_greyscale_pictures_are_told_from_masks_by_their_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "image_0.jpg", "L")
    write_picture(tmp_path / "image_1.png", "L")
    write_picture(tmp_path / "2.jpg", "L")
    assert list(find_pictures(None, tmp_path, range(3)).paths) == [0]


def test_pictures_that_are_not_taken_are_named(tmp_path: Path) -> None:
    none = f"no annotated pictures are found beside {tmp_path}: latents are not checked"
    assert find_pictures(None, tmp_path, range(3)).note == f"{none} (--images DIR names them)"
    for name in ("face.png", "car_1.png", "bus_1.png"):
        write_picture(tmp_path / name)
    (tmp_path / "image_0.jpg").write_bytes(b"no picture")
    note = find_pictures(None, tmp_path, range(3)).note
    assert note is not None and "bus_1.png (whose picture?)" in note and "image_0.jpg (unreadable)" in note
    write_picture(tmp_path / "image_2.png")
    found = find_pictures(None, tmp_path, range(3))
    assert list(found.paths) == [2] and found.note is not None and "face.png" in found.note
    for number in range(2):
        write_picture(tmp_path / f"image_{number}.png")
    assert find_pictures(None, tmp_path, range(3)).note is None  # all are there


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["seed10.png", "seed11.png"], {0: "seed10.png", 1: "seed11.png"}),
        (["10.png", "12.png"], {0: "10.png", 2: "12.png"}),
        (["image_0.png", "image_1.png"], {0: "image_0.png", 1: "image_1.png"}),  # as the masks are
    ],
)
def test_pictures_may_have_the_numbers_of_their_latents(tmp_path: Path, names, expected) -> None:
    for name in names:
        write_picture(tmp_path / name)
    found = find_pictures(None, tmp_path, range(4), latents={10 + i: i for i in range(4)})
    assert {number: path.name for number, path in found.paths.items()} == expected


def test_seeds_in_names_are_seeds_though_they_are_images_too(tmp_path: Path) -> None:
    for seed in (2, 3):
        write_picture(tmp_path / f"seed{seed:04d}.png")
    found = find_pictures(None, tmp_path, range(4), latents={2: 0, 3: 1, 4: 2, 5: 3})
    assert {number: path.name for number, path in found.paths.items()} == {
        0: "seed0002.png",
        1: "seed0003.png",
    }


def test_a_named_folder_must_hold_pictures(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        find_pictures(tmp_path / "none", tmp_path, range(3))
    with pytest.raises(UsageError, match="no picture of an annotated image"):
        find_pictures(tmp_path, tmp_path, range(3))
    write_picture(tmp_path / "face.png")
    with pytest.raises(UsageError, match=r"not taken: face\.png"):
        find_pictures(tmp_path, tmp_path, range(3))


# --- the command ---


def extract(folder: Path, *options: str) -> Result:
    flags = [*input_flags(folder), "--store", str(folder / "f.zarr"), "--layers", "0:1", *options]
    return CliRunner().invoke(main, ["extract-features", *flags])


def test_a_mismatch_stops_the_command_before_anything_is_written(tmp_path: Path) -> None:
    folder = write_inputs(tmp_path / "in", num=3)
    unchecked = extract(folder)
    assert (
        unchecked.exit_code == 0 and "latents are not checked (--images DIR names them)" in unchecked.stderr
    )
    images = fstore.open(folder / "f.zarr").images.compute()
    save(folder / "masks", list(images))
    good = extract(folder, "--overwrite")
    assert good.exit_code == 0 and "3 of 3 annotated pictures are what the latents render" in good.stderr
    assert "annotated pictures" not in extract(folder).stderr  # a resumed run has been checked
    save(folder / "masks", [255 - image for image in images])
    assert "annotated pictures" not in extract(folder).stderr
    other = ["--store", str(folder / "other.zarr")]
    bad = extract(folder, *other)
    assert bad.exit_code == 2 and "3 of 3 annotated pictures" in bad.stderr.splitlines()[-1]
    assert [line.split(":")[0] for line in bad.stderr.splitlines()[1:-1]] == [
        f"image_{i}.png" for i in range(3)
    ]
    assert not (folder / "other.zarr").exists()
    assert "pictures     3" in extract(folder, *other, "--dry-run").stdout
    assert extract(folder, *other, "--no-check").exit_code == 0


def test_pictures_named_by_seed_are_compared_with_masks_named_by_place(tmp_path: Path) -> None:
    folder = write_inputs(tmp_path / "in", num=3)
    flags = [
        *("--checkpoint", str(folder / "checkpoint.pt"), "--seeds", "10-12", "--truncation", "1"),
        *("--store", str(folder / "f.zarr"), "--layers", "0:1"),
    ]
    words = ["extract-features", *flags, "--annotations", str(folder / "masks")]
    assert CliRunner().invoke(main, words).exit_code == 0
    for seed, image in zip((10, 11, 12), fstore.open(folder / "f.zarr").images.compute(), strict=True):
        Image.fromarray(image).save(folder / "masks" / f"seed{seed:04d}.png")
    result = CliRunner().invoke(main, [*words, "--overwrite"])
    assert result.exit_code == 0 and "3 of 3 annotated pictures are what" in result.stderr


def test_pictures_in_a_folder_of_their_own_are_compared(tmp_path: Path) -> None:
    folder = write_inputs(tmp_path / "in", num=2)
    save(folder / "shown", [np.zeros((32, 32, 3), np.uint8)] * 2)
    assert extract(folder, "--images", str(folder / "shown")).exit_code == 2
    assert extract(folder, "--images", str(folder / "none")).exit_code == 2
    cut = folder / "shown" / "image_1.png"
    Image.effect_noise((256, 256), 90).convert("RGB").save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    result = extract(folder, "--images", str(folder / "shown"))
    assert result.exit_code == 2 and "image_1.png: cannot be read" in result.stderr.splitlines()[-1]
    assert not (folder / "f.zarr").exists()
