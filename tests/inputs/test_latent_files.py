"""Latents from every form of file that users have, and one line for every fault of one."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.inputs.latent_files import load_average_latent, load_latents, seed_latents

SIZES = {"latent_size": 8, "min_w_layers": 4}
Z = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
W_PLUS = np.random.default_rng(1).normal(size=(3, 5, 8)).astype(np.float32)


def message_of(path: Path, space: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load_latents(path, space, **SIZES)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


# --- archives ---


@pytest.mark.parametrize(
    ("arrays", "asked", "space", "expected"),
    [
        ({"arr_0": Z}, None, "z", Z),  # numpy.savez(file, array)
        ({"w": W_PLUS[:1]}, None, "w+", W_PLUS[:1]),  # NVIDIA's projected_w.npz
        ({"w": Z}, None, "w", Z),  # the name says the space
        ({"w": Z}, "z", "z", Z),  # unless told otherwise
        ({"z": Z, "seeds": np.arange(3)}, None, "z", Z),
        ({"z": Z, "w": Z + 1}, "w", "w", Z + 1),
        ({"z": Z, "w": Z + 1}, "z", "z", Z),
        ({"dlatents": W_PLUS, "images": np.zeros(3)}, None, "w+", W_PLUS),
        ({"ws": W_PLUS.astype(np.float64)}, None, "w+", W_PLUS),
        ({"latents": np.asfortranarray(Z)}, None, "z", Z),
    ],
)
def test_an_npz_archive_gives_its_latents(tmp_path: Path, arrays, asked, space, expected) -> None:
    np.savez(tmp_path / "l.npz", **arrays)
    latents = load_latents(tmp_path / "l.npz", asked, **SIZES)
    assert (latents.space, latents.numbers) == (space, tuple(range(len(expected))))
    np.testing.assert_array_equal(latents.values, expected)


def test_a_compressed_archive_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "l.npz", latents=Z)
    np.testing.assert_array_equal(load_latents(tmp_path / "l.npz", None, **SIZES).values, Z)


def test_an_archive_of_several_unknown_arrays_lists_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "l.npz", first=Z, second=Z)
    assert "'first', 'second'" in message_of(tmp_path / "l.npz")
    np.savez(tmp_path / "l.npz", z=Z, w=Z)
    assert "'z', 'w'" in message_of(tmp_path / "l.npz")


def test_objects_in_an_archive_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "l.npz", latents=np.array([[None] * 8]))
    assert "Python objects" in message_of(tmp_path / "l.npz")


def test_an_archive_that_declares_terabytes_is_refused_without_allocating(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 8)}
    )
    with zipfile.ZipFile(tmp_path / "l.npz", "w") as archive:
        archive.writestr("latents.npy", header.getvalue() + bytes(64))
    assert "truncated" in message_of(tmp_path / "l.npz")


# --- PyTorch files ---


def test_a_compressed_file_that_unfolds_to_more_than_it_is_is_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(10_000, 8), tmp_path / "plain")
    with zipfile.ZipFile(tmp_path / "plain") as plain, zipfile.ZipFile(tmp_path / "l.pt", "w") as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    assert "the entries of the zip are larger than the file" in message_of(tmp_path / "l.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "space", "expected"),
    [
        (torch.from_numpy(Z), "z", Z),
        (torch.from_numpy(W_PLUS).double(), "w+", W_PLUS),
        (torch.from_numpy(Z).half(), "z", Z.astype(np.float16)),
        (torch.ones(2, 8, dtype=torch.bfloat16), "z", np.ones((2, 8))),
        (torch.nn.Parameter(torch.from_numpy(Z)), "z", Z),
        ([torch.from_numpy(row) for row in Z], "z", Z),
        ([torch.from_numpy(row[None]) for row in Z], "z", Z),  # (1, D) each
        ([torch.from_numpy(row[None]) for row in W_PLUS], "w+", W_PLUS),  # (1, L, D) each
        ({"anything": torch.from_numpy(Z)}, "z", Z),
        ({"w": torch.from_numpy(Z), "noise": torch.zeros(4)}, "w", Z),
        # rosinality's projector: a dict for each picture
        (
            {f"{i}.png": {"latent": torch.from_numpy(W_PLUS[i]), "img": torch.zeros(3)} for i in range(3)},
            "w+",
            W_PLUS,
        ),
    ],
)
def test_plain_tensors_of_either_container_are_read(tmp_path, content, space, expected, zipped) -> None:
    torch.save(content, tmp_path / "l.pt", _use_new_zipfile_serialization=zipped)
    latents = load_latents(tmp_path / "l.pt", None, **SIZES)
    assert latents.space == space
    np.testing.assert_array_equal(latents.values, expected.astype(np.float32))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"a": torch.zeros(3, 8), "b": torch.zeros(3, 8)}, "'a', 'b'"),
        ({}, "found a dict without arrays"),
        ([], "found a list without arrays"),
        ("text", "str"),
        ([torch.zeros(8), torch.zeros(7)], "different shapes"),
        (torch.zeros(3, 8, dtype=torch.int64), "int64"),
        (torch.zeros(1).expand(2**40, 8), "(1099511627776, 8)"),  # few values that declare terabytes
        (torch.zeros(3, 8).to_sparse_coo(), "sparse"),
        (torch.full((3, 8), torch.nan), "row 0 holds nan"),
        (torch.zeros(3, 7), "latent size is 8"),
    ],
)
def test_other_contents_of_a_pytorch_file_are_one_line(tmp_path: Path, content: Any, says: str) -> None:
    torch.save(content, tmp_path / "l.pt")
    assert says in message_of(tmp_path / "l.pt")


def test_nothing_in_a_pytorch_file_is_executed(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    torch.save([Touch()], tmp_path / "l.pt")
    message_of(tmp_path / "l.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Touch()))
    message_of(tmp_path / "bare.pt")
    assert not (tmp_path / "executed").exists()


def contents() -> dict[str, bytes]:
    archive, tensors, legacy = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(archive, latents=Z)
    torch.save(torch.from_numpy(Z), tensors)
    torch.save(torch.from_numpy(Z), legacy, _use_new_zipfile_serialization=False)
    return {"a.npz": archive.getvalue(), "b.pt": tensors.getvalue(), "c.pt": legacy.getvalue()}


WHOLE = contents()


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_damage_is_refused_in_one_line_or_harmless(tmp_path_factory, name: str, data) -> None:
    whole = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("bent") / name
    path.write_bytes(whole[: data.draw(st.integers(len(whole) // 2, len(whole)))])
    try:
        assert load_latents(path, None, **SIZES).values.shape[1:] == (8,)
    except UsageError as error:
        assert "\n" not in str(error) and str(path) in str(error)


# --- folders ---


@pytest.mark.parametrize(
    ("shape", "space"),
    [((8,), "z"), ((1, 8), "z"), ((5, 8), "w+"), ((1, 5, 8), "w+")],  # EditGAN's are (L, D)
)
def test_a_folder_gives_one_latent_a_file_under_its_number(tmp_path: Path, shape, space: str) -> None:
    for number in (2, 10, 7):
        np.save(tmp_path / f"latents_image_{number}.npy", np.full(shape, number, np.float64))
    np.save(tmp_path / "avg_latent.npy", np.zeros(3))  # no latent of an image
    latents = load_latents(tmp_path, None, **SIZES)
    assert (latents.numbers, latents.space) == ((2, 7, 10), space)
    assert latents.values.shape == (3, *(shape[1:] if shape[0] == 1 else shape))
    assert [float(row.flat[0]) for row in latents.values] == [2, 7, 10]


def test_a_folder_may_hold_other_formats_and_be_in_w(tmp_path: Path) -> None:
    np.savez(tmp_path / "latents_image_0.npz", w=Z[:1])
    torch.save(torch.from_numpy(Z[1]), tmp_path / "latents_image_1.pt")
    latents = load_latents(tmp_path, "w", **SIZES)
    assert latents.space == "w"
    np.testing.assert_array_equal(latents.values, Z[:2])


def test_files_that_macos_leaves_beside_latents_are_none(tmp_path: Path) -> None:
    for number in range(2):
        folder = tmp_path / "inner" / f"{number:05}"
        folder.mkdir(parents=True)
        for path in (tmp_path / f"latents_image_{number}.npy", folder / "projected_w.npy"):
            np.save(path, Z[number])
            (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    for place in (tmp_path, tmp_path / "inner"):
        np.testing.assert_array_equal(load_latents(place, "w", **SIZES).values, Z[:2])


def test_what_is_wrong_in_a_folder_names_the_file(tmp_path: Path) -> None:
    assert "latents_image_{i}.npy" in message_of(tmp_path)
    np.save(tmp_path / "latents_image_0.npy", Z[0])
    np.save(tmp_path / "latents_image_00.npy", Z[0])
    assert "keep one" in message_of(tmp_path)
    (tmp_path / "latents_image_00.npy").unlink()
    np.save(tmp_path / "latents_image_1.npy", W_PLUS[0])
    assert "latents_image_1.npy" in message_of(tmp_path)
    np.save(tmp_path / "latents_image_1.npy", Z)
    assert "latents_image_1.npy" in message_of(tmp_path)  # several latents in one file
    np.save(tmp_path / "latents_image_1.npy", W_PLUS)
    assert "expected one latent" in message_of(tmp_path)


def test_z_may_have_a_size_of_its_own(tmp_path: Path) -> None:
    sizes = {**SIZES, "z_size": 6}
    np.save(tmp_path / "z.npy", np.ones((3, 6)))
    assert load_latents(tmp_path / "z.npy", None, **sizes).space == "z"
    np.save(tmp_path / "w.npy", np.ones((3, 8)))
    assert load_latents(tmp_path / "w.npy", "w", **sizes).space == "w"
    with pytest.raises(UsageError, match=r"expected \(N, 6\) or \(N, L, 8\)"):
        load_latents(tmp_path / "w.npy", None, **sizes)


# --- seeds and averages ---


def test_seeds_are_nvidias() -> None:
    latents = seed_latents([3, 0, 85], 512)
    assert (latents.space, latents.numbers, latents.values.dtype) == ("z", (3, 0, 85), np.float32)
    for row, seed in zip(latents.values, (3, 0, 85), strict=True):
        np.testing.assert_array_equal(row, np.random.RandomState(seed).randn(1, 512)[0].astype(np.float32))
    assert latents.values[1, 0] == np.float32(1.764052345967664)  # RandomState(0), as everyone knows it


def test_a_seed_that_comes_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="seed 3 twice"):
        seed_latents([3, 4, 3], 8)


class Counted(tuple[int, ...]):
    """Counts how often an entry is looked at."""

    looks = 0

    def __iter__(self) -> Iterator[int]:
        for seed in super().__iter__():
            Counted.looks += 1
            yield seed

    def count(self, value: object, /) -> int:
        Counted.looks += len(self)
        return super().count(value)


def test_each_seed_is_looked_at_a_few_times_however_many_there_are() -> None:
    Counted.looks = 0
    seeds = Counted(range(1000))
    assert seed_latents(seeds, 2).numbers == tuple(range(1000))
    assert Counted.looks <= 4 * len(seeds)


def test_an_average_latent_is_read_from_every_container(tmp_path: Path) -> None:
    average = np.arange(8, dtype=np.float32)
    np.savez(tmp_path / "a.npz", avg_latent=average, other=Z)
    torch.save({"latent_avg": torch.from_numpy(average), "g_ema": torch.zeros(3)}, tmp_path / "a.pt")
    for name in ("a.npz", "a.pt"):
        found = load_average_latent(tmp_path / name, latent_size=8, num_w_layers=4)
        np.testing.assert_array_equal(found, average[None])
