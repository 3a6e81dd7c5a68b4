"""Collections of one latent for each image: the number in a key says which image, and never the place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.inputs import arrays
from pipeline.inputs.latent_files import load_latents
from pipeline.rendering.latents import LatentSet

SIZES = {"latent_size": 8, "min_w_layers": 4}
W = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
W_PLUS = np.random.default_rng(1).normal(size=(12, 5, 8)).astype(np.float32)
SHELL = sorted(range(12), key=str)  # 0, 1, 10, 11, 2, ...: the order in which a shell names files


def load(path: Path, space: str | None = None) -> LatentSet:
    return load_latents(path, space, **SIZES)


def message_of(path: Path, space: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load(path, space)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def row(values: np.ndarray, i: int) -> torch.Tensor:
    return torch.from_numpy(values[i].copy())


TORCH: dict[str, Callable[[np.ndarray], Any]] = {
    "rosinality's projector": lambda v: {
        f"inputs/{i}.png": {"img": torch.zeros(3, 2), "latent": row(v, i), "noise": [torch.zeros(1, 1, 4, 4)]}
        for i in SHELL
    },
    "a dict of tensors": lambda v: {f"image_{i}.png": row(v, i) for i in SHELL},
    "a dict of numbers": lambda v: {i: row(v, i) for i in SHELL},
    "a dict of texts of numbers": lambda v: {str(i): row(v, i)[None] for i in SHELL},
    "pairs": lambda v: [(f"/data/{i:05}.jpg", row(v, i)) for i in SHELL],
    "pairs turned round": lambda v: [(row(v, i), f"seed{i:04}.png") for i in SHELL],
    "dicts with a path": lambda v: [{"path": f"img{i}.png", "latent": row(v, i), "loss": 0.5} for i in SHELL],
    "names beside the latents": lambda v: {
        "latents": torch.stack([row(v, i) for i in SHELL]), "filenames": [f"{i}.png" for i in SHELL]
    },
    "seeds beside the latents": lambda v: {
        "latents": torch.stack([row(v, i) for i in SHELL]), "seeds": torch.tensor(SHELL)
    },
    "pairs with integers": lambda v: [(i, row(v, i)) for i in SHELL],
    "dicts with two paths": lambda v: [
        {"path": f"in/{i}.png", "out": f"out/{i}.png", "latent": row(v, i)} for i in SHELL
    ],
    "dicts with an index": lambda v: [{"index": i, "latent": row(v, i)} for i in SHELL],
    "dicts with a text and an index": lambda v: [
        {"caption": "a face", "idx": torch.tensor(i), "latent": row(v, i)} for i in SHELL
    ],
    "latents and names": lambda v: (torch.stack([row(v, i) for i in SHELL]), [f"{i}.png" for i in SHELL]),
    "names and latents": lambda v: [[f"{i}.png" for i in SHELL], [row(v, i) for i in SHELL]],
    "a collection beside settings": lambda v: {
        "latents": {f"{i}.png": row(v, i) for i in SHELL}, "step": 100, "args": {"lr": 0.1}
    },
    "a collection beside its mean": lambda v: {
        "mean_latent": row(v, 0), "latents": {f"{i}.png": row(v, i) for i in SHELL}
    },
    "a collection below a key": lambda v: {"latents": {f"{i}.png": row(v, i) for i in SHELL}},
}  # fmt: skip
NPZ: dict[str, Callable[[np.ndarray], dict[str, np.ndarray]]] = {
    "names": lambda v: {f"image_{i}": v[i] for i in SHELL},
    "paths": lambda v: {f"inputs/{i}.png": v[i][None] for i in SHELL},
    "no names": lambda v: {f"arr_{i}": v[i] for i in SHELL},  # numpy.savez(file, *latents)
    "names beside": lambda v: {"latents": v[SHELL], "names": np.array([f"{i}.png" for i in SHELL])},
    "names in bytes": lambda v: {
        "latents": v[SHELL],
        "files": np.array([f"{i}.png".encode() for i in SHELL]),
    },
    "numbers beside": lambda v: {"latents": v[SHELL], "index": np.array(SHELL)},
}


@pytest.mark.parametrize("values", [W, W_PLUS], ids=["rows", "layers"])
@pytest.mark.parametrize("form", TORCH)
def test_a_pytorch_file_is_read_by_the_numbers(tmp_path: Path, form: str, values: np.ndarray) -> None:
    torch.save(TORCH[form](values), tmp_path / "p.pt")
    check(load(tmp_path / "p.pt"), values)


@pytest.mark.parametrize("values", [W, W_PLUS], ids=["rows", "layers"])
@pytest.mark.parametrize("form", NPZ)
def test_an_archive_is_read_by_the_numbers(tmp_path: Path, form: str, values: np.ndarray) -> None:
    np.savez(tmp_path / "p.npz", **NPZ[form](values))
    check(load(tmp_path / "p.npz"), values)


def check(latents: LatentSet, values: np.ndarray) -> None:
    """Whatever the order of the rows, each has its own image's number."""
    assert sorted(latents.numbers) == list(range(12))
    np.testing.assert_array_equal(latents.values[np.argsort(latents.numbers)], values)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["alice.png", "bob.png"], "the key 'alice.png' has no number"),
        (["1.png", "bob.png"], "the key 'bob.png' has no number"),
        (["a/1.png", "b/1.png"], "the keys 'a/1.png' and 'b/1.png' have the same number, 1"),
        (["01.png", "1.png"], "the keys '01.png' and '1.png' have the same number, 1"),
    ],
)
def test_names_without_a_number_or_with_one_number_are_refused(
    tmp_path: Path, names: list[str], words: str
) -> None:
    torch.save({name: {"latent": row(W, i)} for i, name in enumerate(names)}, tmp_path / "p.pt")
    assert words in message_of(tmp_path / "p.pt")
    torch.save([(name, row(W, i)) for i, name in enumerate(names)], tmp_path / "p.pt")
    assert words in message_of(tmp_path / "p.pt")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"latent": row(W, 1)}, "entry 1 of its list has no name"),
        ({"path": "in/1.png", "file": "out/7.png", "latent": row(W, 1)}, "under 'path' and one under 'file'"),
    ],
)
def test_a_list_with_an_entry_of_no_one_name_is_refused(tmp_path: Path, entry: Any, words: str) -> None:
    torch.save([{"path": "in/0.png", "latent": row(W, 0)}, entry], tmp_path / "p.pt")
    assert words in message_of(tmp_path / "p.pt")


def test_one_picture_needs_no_number(tmp_path: Path) -> None:
    torch.save({"alice.png": {"latent": row(W, 0)}}, tmp_path / "p.pt")
    assert load(tmp_path / "p.pt").numbers == (0,)
    torch.save({"alice_7.png": {"latent": row(W, 0)}}, tmp_path / "p.pt")
    assert load(tmp_path / "p.pt").numbers == (7,)


def test_seeds_that_repeat_and_arrays_that_differ_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", z=W[:3], seeds=np.array([1, 2, 1]))
    assert "the numbers under 'seeds' are not all different" in message_of(tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", image_0=W[0], image_1=W_PLUS[0])
    assert "found 2 arrays ('image_0', 'image_1'), and which to take" in message_of(tmp_path / "p.npz")
    torch.save({"0.png": {"w": row(W, 0)}, "1.png": {"z": row(W, 1)}}, tmp_path / "p.pt")
    assert "arrays 'w' in some entries and 'z' in others" in message_of(tmp_path / "p.pt")


def test_names_of_classes_are_no_names_of_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", latents=W[:3], class_names=np.array(["c2", "c1", "c0"]))
    assert load(tmp_path / "p.npz").numbers == (0, 1, 2)


@pytest.mark.parametrize(
    ("key", "values", "way_out"),
    [
        ("names", ["image_3.png", "image_1.png", "image_2.png"], "as text, names.astype(str)"),
        ("index", [3, 1, 2], "as whole numbers, numbers.astype(int)"),
    ],
)
def test_names_beside_that_are_python_objects_are_refused(
    tmp_path: Path, key: str, values: list[Any], way_out: str
) -> None:
    """As pandas gives them: without the names the latents would be of the images 0, 1 and 2."""
    np.savez(tmp_path / "p.npz", allow_pickle=True, latents=W[:3], **{key: np.array(values, object)})
    message = message_of(tmp_path / "p.npz")
    assert f"what is under '{key}' are Python objects" in message and way_out in message
    beside = {"class_names": np.array(["a", None, "c"], object), key: np.array(values)}
    np.savez(tmp_path / "q.npz", allow_pickle=True, latents=W[:3], **beside)
    assert load(tmp_path / "q.npz").numbers == (3, 1, 2)


def test_a_list_without_names_keeps_its_order(tmp_path: Path) -> None:
    torch.save([row(W, i) for i in range(12)], tmp_path / "p.pt")
    latents = load(tmp_path / "p.pt")
    assert latents.numbers == tuple(range(12))
    np.testing.assert_array_equal(latents.values, W)


def test_lists_in_lists_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert arrays.MAX_ENTRIES == 2**20
    monkeypatch.setattr(arrays, "MAX_ENTRIES", 2**10)  # which takes less time to reach
    nested: list[Any] = [torch.zeros(8)]
    for _ in range(40):
        nested = [nested, nested]
    torch.save(nested, tmp_path / "p.pt")
    assert "more than 1,024 entries" in message_of(tmp_path / "p.pt")


@given(numbers=st.lists(st.integers(0, 10**6), min_size=2, max_size=8, unique=True), data=st.data())
def test_the_order_of_the_keys_never_matters(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("order") / "p.npz"
    pattern = data.draw(
        st.sampled_from(["{}", "image_{}.png", "a/b/{:07}.jpg", "seed{:04}", "latents_image_{}"])
    )
    np.savez(path, **{pattern.format(n): np.full(8, n, np.float32) for n in numbers})
    latents = load(path)
    assert latents.numbers == tuple(sorted(numbers))
    assert [float(each[0]) for each in latents.values] == sorted(map(float, numbers))


# --- folders ---


@pytest.mark.parametrize(
    "pattern",
    [
        *("latents_image_{}.npy", "{}.npy", "seed{:04}.npy", "image_{}_latent.npy", "{:05}_w.npy"),
        *("{:05}/projected_w.npy", "image_{}/0.npy", "{}/latent.npy"),
    ],
)
def test_a_folder_is_read_by_the_numbers(tmp_path: Path, pattern: str) -> None:
    for i in SHELL:
        path = tmp_path / pattern.format(i)
        path.parent.mkdir(exist_ok=True)
        np.save(path, W_PLUS[i])
    check(load(tmp_path), W_PLUS)


def test_a_folder_as_nvidias_projector_writes_it(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i:05}").mkdir()
        np.savez(tmp_path / f"{i:05}" / "projected_w.npz", w=W_PLUS[i][None])
        (tmp_path / f"{i:05}" / "proj.png").touch()
    (tmp_path / "notes").mkdir()
    latents = load(tmp_path)
    assert latents.space == "w+" and latents.numbers == tuple(range(12))
    np.testing.assert_array_equal(latents.values, W_PLUS)


def test_masks_and_averages_beside_the_latents_are_not_latents(tmp_path: Path) -> None:
    for i in range(3):
        np.save(tmp_path / f"latents_image_{i}.npy", W[i])
        np.save(tmp_path / f"image_mask{i}.npy", np.zeros((4, 4)))
    np.save(tmp_path / "avg_latent_stylegan1.npy", W[0])
    np.save(tmp_path / "other_5.npy", np.zeros(3))
    assert load(tmp_path).numbers == (0, 1, 2)


def test_folders_that_do_not_say_one_latent_an_image_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "latent.npy", W)
    assert "latent.npy has no number in its name" in message_of(tmp_path)
    (tmp_path / "latent.npy").unlink()
    (tmp_path / "0").mkdir()
    np.save(tmp_path / "0" / "a.npy", W[0])
    (tmp_path / "1").mkdir()
    for name in "ab":
        np.save(tmp_path / "1" / f"{name}.npy", W[1])
    assert "holds several arrays of latents" in message_of(tmp_path)
    for name in "ab":
        (tmp_path / "1" / f"{name}.npy").unlink()
    (tmp_path / "00").mkdir()
    np.save(tmp_path / "00" / "a.npy", W[0])
    assert "is the latent of image 0 too" in message_of(tmp_path)


# --- names that say the space ---


@pytest.mark.parametrize(
    ("name", "array", "space", "shape"),
    [
        ("w", W_PLUS[:1], "w+", (1, 5, 8)),  # NVIDIA's projected_w.npz
        ("w", W[:, None], "w", (12, 8)),
        ("z", W[None], "z", (12, 8)),
        ("w", W[None, :3], "w", (3, 8)),
        ("ws", W[:2], "w", (2, 8)),
        ("ws", W_PLUS[:, None], "w+", (12, 5, 8)),
    ],
)
def test_a_name_says_the_space_where_the_shape_does_not(
    tmp_path: Path, name: str, array: np.ndarray, space: str, shape: tuple[int, ...]
) -> None:
    np.savez(tmp_path / "l.npz", **{name: array})
    latents = load(tmp_path / "l.npz")
    assert (latents.space, latents.values.shape) == (space, shape)


def test_rows_that_may_be_one_latent_of_w_plus_are_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "l.npz", ws=W)
    assert "12 latents in W, or the 12 rows of one in W+; pass --latent-space w or w+" in message_of(
        tmp_path / "l.npz"
    )
    assert load(tmp_path / "l.npz", "w").values.shape == (12, 8)
    assert load(tmp_path / "l.npz", "w+").values.shape == (1, 12, 8)
    np.savez(tmp_path / "l.npz", z=W_PLUS)
    assert "an axis of rows, as W+ has, and the space is 'z'" in message_of(tmp_path / "l.npz")
