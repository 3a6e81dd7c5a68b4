"""``dgan sample``: what an annotator is given, that the next command needs nothing more, and what is never
touched.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.commands import dgan, done
from support.stores import tree_bytes
from support.tiny import LATENT_SIZE, write_checkpoint, write_inputs

import fstore
from pipeline import embedded
from pipeline.labelling import labelled_images
from pipeline.machine.random_streams import Purpose
from pipeline.rendering.latents import seeded_latents
from pipeline.rendering.renderer import Renderer
from pipeline.settings.files import load_config
from pipeline.stages.sample.diversity import farthest_points

WRITTEN = [
    "average_latent.npy", "classes.toml", "contact_sheet.png", "dgan.toml", "images", "latents.npy", "masks",
    "sample.json",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a checkpoint of 32 px."""
    write_checkpoint(tmp_path / "checkpoint.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the same checkpoint, and in ``annotate`` five images: change a copy."""
    made = tmp_path_factory.mktemp("sampled")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        write_checkpoint(made / "checkpoint.pt")
        done(*sample())
    return made


@pytest.fixture
def project(folder: Path, sampled: Path) -> Path:
    """The current folder, with a copy of both."""
    shutil.copytree(sampled / "annotate", "annotate")
    return folder


def refused(*words: str | Path | int) -> str:
    """The one line that a command was refused with."""
    result = dgan(*words)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("using ")]
    assert len(lines) == 1 and "Traceback" not in result.output, result.stderr
    return lines[0]


def sample(*more: str | Path | int) -> list[str | Path | int]:
    return ["sample", "--checkpoint", "checkpoint.pt", "--num", 5, *more]


def record(out: str = "annotate") -> dict:
    return json.loads(Path(out, "sample.json").read_text())


def draw_masks(out: str, images: list[int], side: int = 32, classes: int = 3) -> None:
    """Annotations in blocks, of some of the images."""
    for image in images:
        coarse = np.random.default_rng(image).integers(0, classes, (4, 4)).astype(np.uint8)
        coarse.flat[:classes] = range(classes)
        rows = np.arange(side) * 4 // side
        np.save(Path(out, "masks", f"image_mask{image}.npy"), coarse[rows[:, None], rows])


def test_the_folder_has_what_an_annotator_needs(folder: Path) -> None:
    line = done(*sample()).output
    assert "5 images to annotate" in line and "dgan extract-features --config annotate/dgan.toml" in line
    assert sorted(path.name for path in Path("annotate").iterdir()) == WRITTEN
    latents = np.load("annotate/latents.npy")
    assert latents.dtype == np.float32
    assert np.array_equal(latents, seeded_latents(Purpose.ANNOTATED_LATENTS, 0, range(5), LATENT_SIZE))
    assert np.load("annotate/average_latent.npy").shape == (LATENT_SIZE,)
    assert sorted(path.name for path in Path("annotate/images").iterdir()) == [
        f"image_{i}.png" for i in range(5)
    ]
    assert not list(Path("annotate/masks").iterdir())
    with Image.open("annotate/contact_sheet.png") as sheet:
        assert min(sheet.size) > 64
    assert not list(folder.glob(".*"))  # no half-written folder beside it


def test_extraction_needs_nothing_but_the_masks_and_finds_the_same_pictures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(*sample("--crop-rows", "4:28", "--truncation", "0.5", "--noise", "zero", "--resolution", "32"))
    draw_masks("annotate", [0, 1, 3, 4])  # image 2 is left out
    monkeypatch.chdir("annotate")
    done("extract-features")
    store = fstore.open("features.zarr")
    assert isinstance(store, fstore.FeatureStore)
    assert store.shape[:3] == (4, 24, 32)
    assert store.meta.generator["truncation"] == 0.5 and store.meta.generator["noise"] == "zero"
    for row, number in enumerate([0, 1, 3, 4]):
        with Image.open(f"images/image_{number}.png") as shown:
            assert np.array_equal(np.asarray(shown), store.images[row].compute())
    assert np.array_equal(store.latents.compute(), np.load("latents.npy")[[0, 1, 3, 4]])
    assert [entry.name for entry in store.meta.classes] == ["background", "class_1", "class_2"]


def test_the_configuration_works_from_another_folder_and_after_a_move(project: Path) -> None:
    draw_masks("annotate", [0, 1])
    Path("elsewhere").mkdir()
    shutil.move("annotate", "elsewhere/annotate")
    shutil.move("checkpoint.pt", "elsewhere/checkpoint.pt")  # it lay beside the folder, and still does
    done("extract-features", "--config", "elsewhere/annotate/dgan.toml")
    assert len(fstore.open("elsewhere/annotate/features.zarr")) == 2


def test_classes_that_are_filled_in_name_the_store_s(project: Path) -> None:
    draw_masks("annotate", [0, 1])
    text = Path("annotate/classes.toml").read_text()
    filled = text.replace("\n# [[", "\n[[").replace("\n# name", "\nname").replace("\n# color", "\ncolor")
    assert filled != text
    Path("annotate/classes.toml").write_text(filled + '\n[[classes]]\nname = "nose"\n')
    done("extract-features", "--config", "annotate/dgan.toml")
    classes = fstore.open("annotate/features.zarr").meta.classes
    assert [entry.name for entry in classes] == ["background", "hair", "nose"]
    assert classes[1].color == "#7a4a1e"


def test_diverse_takes_the_farthest_points_of_the_pool_in_w(folder: Path) -> None:
    done(*sample("--diverse", "--pool", 30, "--seed", 7))
    numbers = [number for _, number in record()["latents"]]
    from pipeline.checkpoints.read import load_generator

    pool = torch.from_numpy(seeded_latents(Purpose.ANNOTATED_LATENTS, 7, range(30), LATENT_SIZE))
    with torch.inference_mode():
        expected = farthest_points(load_generator(Path("checkpoint.pt")).generator.mapping(pool).numpy(), 5)
    assert numbers == expected.tolist()
    assert np.array_equal(
        np.load("annotate/latents.npy"), seeded_latents(Purpose.ANNOTATED_LATENTS, 7, numbers, LATENT_SIZE)
    )
    assert record()["chosen"] == {"by": ["diverse"], "pool": 30, "images": [0, 5]}


def test_the_same_command_gives_the_same_files(folder: Path) -> None:
    done(*sample("--diverse", "--out", "a", "--noise", "random"))
    done(*sample("--diverse", "--out", "b", "--noise", "random", "--threads", 1))
    a, b = tree_bytes(Path("a")), tree_bytes(Path("b"))
    del a["sample.json"], b["sample.json"]  # it has the time
    assert a == b


def test_pictures_are_those_of_the_store_bit_for_bit_whatever_the_number_of_threads(folder: Path) -> None:
    done(*sample("--out", "a", "--noise", "random", "--threads", 1))
    draw_masks("a", list(range(5)))
    done("extract-features", "--config", "a/dgan.toml", "--threads", 2)
    store = fstore.open("a/features.zarr")
    for threads in (1, 2, 3):
        done(*sample("--out", f"{threads}", "--noise", "random", "--threads", threads))
        for image in range(5):
            picture = np.asarray(Image.open(f"{threads}/images/image_{image}.png"))
            assert np.array_equal(picture, store.images[image].compute())


@pytest.mark.slow
def test_the_demo_goes_round_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample, annotate exactly, extract, train, synthesize; then what the interpreter is least sure of."""
    monkeypatch.chdir(tmp_path)
    done("sample", "--num", 12, "--diverse", "--pool", 40)
    out = Path("annotate")
    annotated = [0, 1, 2, 4, 5, 7, 10, 11]
    for number, mask in zip(
        annotated, embedded.exact_masks(np.load(out / "latents.npy")[annotated]), strict=True
    ):
        Image.fromarray(mask).save(out / "masks" / f"image_mask{number}.png")
    monkeypatch.chdir(out)
    done("extract-features", "--layout", "pyramid")
    done("train", "--members", 2, "--steps", 60)
    done("synthesize", "--num", 2)
    assert tuple(c.name for c in fstore.open("dataset.zarr").meta.classes) == embedded.class_names()
    monkeypatch.chdir(tmp_path)
    config = (out / "dgan.toml").read_text() + "# edited by hand\n"
    (out / "dgan.toml").write_text(config)
    before = tree_bytes(out)
    done("sample", "--add", "--uncertain", out / "interpreter", "--num", 3, "--pool", 12, "--diverse")
    latents = record()["latents"]
    assert len(latents) == 15 and len({tuple(pair) for pair in latents}) == 15
    assert record()["chosen"]["by"] == ["uncertain", "diverse"]
    after = tree_bytes(out)
    same = [f"images/image_{i}.png" for i in range(12)]
    same += [name for name in before if name.startswith(("masks", "interpreter", "features"))]
    assert all(before[name] == after[name] for name in [*same, "classes.toml", "average_latent.npy"])
    assert "images/image_14.png" in after and (out / "dgan.toml").read_text() == config
    done(
        "extract-features", "--config", out / "dgan.toml", "--layout", "pyramid"
    )  # the new are not annotated


def test_uncertain_takes_the_highest_scores_and_the_interpreter_s_rendering(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(folder / "in")
    state = torch.load("checkpoint.pt", weights_only=True)  # whose pictures hardly depend on their latents
    mapping = {name: 100 * values for name, values in state.items() if "mapping" in name}
    torch.save({**state, **mapping}, "checkpoint.pt")
    flags = ["--latents", "in/latents.npy", "--annotations", "in/masks", "--crop-rows", "4:28"]
    flags += ["--noise", "zero", "--layers", "2:", "--upsample", "nearest"]
    done("extract-features", "--checkpoint", "checkpoint.pt", *flags)
    done("train", "--members", 2, "--steps", 10, "--batch-size", 16)
    with monkeypatch.context() as patch:  # a dataset of the very images of the pool

        def offered(purpose: Purpose, *rest: object) -> np.ndarray:
            assert purpose == Purpose.DATASET_LATENTS
            return seeded_latents(Purpose.ANNOTATED_LATENTS, *rest)

        patch.setattr(labelled_images, "seeded_latents", offered)
        done("synthesize", "--num", 12, "--checkpoint", "checkpoint.pt", "--precision", "float32")
    uncertainty = fstore.open("dataset.zarr").uncertainty  # type: ignore[union-attr]
    assert len(set(uncertainty.tolist())) == 12  # else any choice would be the highest
    done(
        "sample", "--uncertain", "interpreter", "--num", 4, "--pool", 12
    )  # the checkpoint's name is recorded
    expected = np.argsort(-uncertainty, kind="stable")[:4]
    assert [number for _, number in record()["latents"]] == expected.tolist()
    rendering = record()["rendering"]
    assert rendering["noise"] == "zero" and rendering["crop_rows"] == [4, 28]
    config = load_config("annotate/dgan.toml")
    assert config.features.crop_rows == (4, 28) and config.generator.noise == "zero"
    assert config.generator.checkpoint == Path("annotate/../checkpoint.pt")
    draw_masks("annotate", [1, 2])
    done("extract-features", "--config", "annotate/dgan.toml")
    store = fstore.open("annotate/features.zarr")
    assert store.images.shape[1:3] == (24, 32)
    assert len(store.meta.classes) == 4  # the interpreter's, written into classes.toml
    first = fstore.open("features.zarr")
    assert (store.meta.layers, store.meta.upsample) == (first.meta.layers, first.meta.upsample)


def test_random_noise_stays_with_its_image_when_others_are_left_out(folder: Path) -> None:
    done(*sample("--noise", "random"))
    draw_masks("annotate", [1, 4])
    result = done("extract-features", "--config", "annotate/dgan.toml")
    assert "2 annotated pictures are what the latents render" in result.stderr
    shown = np.asarray(Image.open("annotate/images/image_4.png"))
    assert np.array_equal(shown, fstore.open("annotate/features.zarr").images[1].compute())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--pool", 4, "--diverse"], "--pool is 4; expected at least --num, 5"),
        (["--pool", 40], "--pool is 40, and choosing by random looks at no pool; leave it out"),
        (["--uncertain", "nowhere"], "nowhere: does not exist"),
        (["--crop-rows", "4:40"], "--crop-rows 4:40 ends after row 32"),
        (["--checkpoint", "gone.pt"], "gone.pt: no such file"),
        (["--add"], "annotate: holds no images to --add to"),
        (["--out", "checkpoint.pt"], "checkpoint.pt: is a file; expected a folder"),
        (["--out", "."], "no sample.json of `dgan sample`; choose another --out"),
        (["--class-label", 3], "--class-label 3 is given; leave it out"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    folder: Path, flags: list[str | int], says: str
) -> None:
    assert says in refused(*sample(*flags))
    assert not Path("annotate").exists()


def test_a_folder_with_images_is_refused_and_overwrite_replaces_what_sample_wrote(folder: Path) -> None:
    done(*sample("--num", 7))
    Path("annotate/notes.txt").write_text("mine")
    Path("annotate/classes.toml").write_text('[[classes]]\nname = "sky"\n')
    assert "holds 7 images already; --add more" in refused(*sample())
    done(*sample("--seed", 5, "--overwrite"))
    assert record()["latents"] == [[5, i] for i in range(5)]
    assert sorted(path.name for path in Path("annotate/images").iterdir()) == [
        f"image_{i}.png" for i in range(5)
    ]
    assert Path("annotate/notes.txt").read_text() == "mine"
    assert "sky" in Path("annotate/classes.toml").read_text()  # the annotator's by now
    assert not list(folder.glob(".*"))


def test_annotated_images_are_never_replaced_by_others(project: Path) -> None:
    draw_masks("annotate", [0, 1])
    before = tree_bytes(Path("annotate"))
    line = refused(*sample("--seed", 5, "--overwrite"))
    assert "annotate/masks: holds 2 files" in line and "which latents these are" in line
    assert "would change truncation, from 0.7 to 1.0" in refused(*sample("--truncation", "1", "--overwrite"))
    assert "truncation = 0.7, this run has 1.0" in refused(*sample("--truncation", "1", "--add"))
    np.save("other.npy", np.zeros(LATENT_SIZE, np.float32))
    assert "change average_latent_sha256" in refused(*sample("--average-latent", "other.npy", "--overwrite"))
    assert tree_bytes(Path("annotate")) == before
    done(*sample("--num", 6, "--overwrite"))  # the same images and one more
    after = tree_bytes(Path("annotate"))
    kept = [name for name in before if name.startswith(("images", "masks"))]
    assert len(kept) == 7 and all(after[name] == before[name] for name in kept)


def test_add_takes_latents_that_are_not_there_yet(project: Path) -> None:
    done("sample", "--add", "--num", 2)
    done("sample", "--add", "--num", 1, "--seed", 3)
    assert record()["latents"] == [*([0, i] for i in range(7)), [3, 0]]
    assert np.load("annotate/latents.npy").shape == (8, LATENT_SIZE)


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interruption_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, present: bool
) -> None:
    if present:
        done(*sample())
    before = tree_bytes(folder)
    render, calls = Renderer.render, []

    def interrupted(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise error
        return render(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Renderer, "render", interrupted)
    result = dgan(*sample("--overwrite", "--seed", 1))
    assert result.exit_code == (130 if error is KeyboardInterrupt else 1)
    assert tree_bytes(folder) == before
    assert Path("annotate").exists() == present


def test_what_a_killed_run_left_is_not_taken_over(folder: Path) -> None:
    left = Path(".annotate.partial/images")
    left.mkdir(parents=True)
    (left / "image_99.png").write_bytes(b"half")
    done(*sample())
    assert len(list(Path("annotate/images").iterdir())) == 5
    assert not Path(".annotate.partial").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b'{"latents": 3}', b'{"latents": [[1]], "rendering": {}}', b"\xff\xfe", b"null",
     b'{"latents": [[true, "x"]], "rendering": {}}', b'{"latents": [[0, 1]], "rendering": []}', b"[" * 10**5],
)  # fmt: skip
def test_a_damaged_record_is_refused(project: Path, content: bytes) -> None:
    Path("annotate/sample.json").write_bytes(content)
    assert "annotate/sample.json: is no record of `dgan sample`" in refused(*sample("--overwrite"))


def test_a_dry_run_says_what_it_would_do_and_does_nothing(folder: Path) -> None:
    output = done(*sample("--diverse", "--dry-run")).output
    assert "the most spread of 100" in output and "time         about" in output
    assert not Path("annotate").exists()


def test_a_project_of_keypoints_goes_on_alone_and_refuses_an_interpreter_of_labels(folder: Path) -> None:
    done(*sample("--task", "keypoints"))
    points = np.random.default_rng(0).uniform(4, 28, (5, 3, 2)).astype(np.float32)
    np.save("annotate/masks/keypoints.npy", points)
    done("extract-features", "--config", "annotate/dgan.toml")
    store = fstore.open("annotate/features.zarr")
    assert store.keypoints[..., :2].compute().tolist() == points.tolist()
    write_inputs(folder / "in")
    done("extract-features", "--checkpoint", "checkpoint.pt", "--latents", "in/latents.npy",
         "--annotations", "in/masks")  # fmt: skip
    done("train", "--members", 2, "--steps", 2, "--batch-size", 16)
    line = refused("sample", "--add", "--uncertain", "interpreter", "--num", 2, "--pool", 4)
    assert "has learnt segmentation" in line and "is for keypoints" in line


def test_the_current_folder_is_called_by_its_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("annotate")
    again = ["sample", "--add", "--out", "."]
    line = done(*again, "--num", 1).stdout
    assert line.startswith("annotate: 1 image added, 6 in all to annotate")
    assert "folder       annotate: 6 images are there already" in done(*again, "--dry-run").stdout
    line = done(*again, "--num", 4).stdout
    assert line.startswith("annotate: 4 images added, 10 in all to annotate")
    assert refused("sample", "--out", ".", "--config", "dgan.toml").startswith("Error: annotate: holds 10")
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    line = done("sample", "--add", "--out", "..", "--num", 2).stdout
    assert line.startswith("annotate: 2 images added")


def test_a_record_of_another_version_is_refused_before_its_pictures_change(project: Path) -> None:
    path = Path("annotate/sample.json")
    path.write_text(path.read_text().replace('"version": 2', '"version": 1'))
    assert "version 1, expected 2" in refused(*sample("--add"))


def test_a_score_that_is_not_finite_is_null_in_the_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.stages.sample import choice

    write_inputs(folder / "in")
    flags = ["--latents", "in/latents.npy", "--annotations", "in/masks"]
    done("extract-features", "--checkpoint", "checkpoint.pt", *flags)
    done("train", "--members", 2, "--steps", 10, "--batch-size", 16)
    scores = np.array([0.1, np.nan, 0.3], np.float32)
    monkeypatch.setattr(choice, "_predictions", lambda *_: (scores, None))
    done("sample", "--uncertain", "interpreter", "--num", 3, "--pool", 3)
    assert [number for _, number in record()["latents"]] == [2, 0, 1]
    assert record()["chosen"]["uncertainty"][2] is None
    assert "NaN" not in Path("annotate/sample.json").read_text()
