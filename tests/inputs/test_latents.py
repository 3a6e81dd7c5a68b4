"""Latents: files of every form, one line for every fault."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.places import FIXTURES

from pipeline.errors import UsageError
from pipeline.inputs.latent_files import load_average_latent, load_latents

SIZES = {"latent_size": 8, "min_w_layers": 4}
AVERAGE_SIZES = {"latent_size": 8, "num_w_layers": 4}


def saved(folder: Path, array: Any) -> Path:
    path = folder / "latents.npy"
    np.save(path, array, allow_pickle=True)
    return path


def message_of(path: Path, call: Any, *arguments: Any, **sizes: int) -> str:
    with pytest.raises(UsageError) as caught:
        call(path, *arguments, **sizes)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


# --- files that are taken ---


@pytest.mark.parametrize(
    ("shape", "asked", "space"),
    [
        ((3, 8), None, "z"),
        ((3, 8), "z", "z"),
        ((3, 8), "w", "w"),
        ((3, 4, 8), None, "w+"),
        ((3, 9, 8), "w+", "w+"),  # more layers than needed: the released files always have 18
        ((1, 8), None, "z"),
        ((3, 1, 8), None, "z"),
        ((3, 1, 8), "w", "w"),
        ((1, 3, 8), "w", "w"),
        ((3, 1, 5, 8), None, "w+"),
        ((1, 18, 8), None, "w+"),
        ((18, 8), "w+", "w+"),
        ((8,), None, "z"),
    ],
)
def test_the_space_follows_from_the_shape(
    tmp_path: Path, shape: tuple[int, ...], asked: str | None, space: str
) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    latents = load_latents(saved(tmp_path, values), asked, **SIZES)
    assert latents.space == space and latents.values.ndim == (3 if space == "w+" else 2)
    assert latents.values.dtype == np.float32 and latents.values.flags.c_contiguous
    np.testing.assert_array_equal(latents.values.ravel(), values.astype(np.float32).ravel())


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
def test_every_float_dtype_is_read_by_value(tmp_path: Path, dtype: str) -> None:
    values = np.arange(16).reshape(2, 8).astype(dtype, order="F")
    latents = load_latents(saved(tmp_path, values), None, **SIZES)
    np.testing.assert_array_equal(latents.values, np.arange(16, dtype=np.float32).reshape(2, 8))


@pytest.mark.parametrize(
    "shape", [(8,), (1, 8), (1, 1, 8), (4, 8), (18, 8), (1, 18, 8), (18, 1, 8), (1, 18, 1, 8)]
)
def test_average_latents_of_every_form_have_rows(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    average = load_average_latent(saved(tmp_path, values), **AVERAGE_SIZES)
    assert average.dtype == np.float32
    np.testing.assert_array_equal(average, values.reshape(-1, 8))


def test_the_released_files_are_read() -> None:
    folder = FIXTURES / "stylegan1_64"
    if not folder.exists():
        pytest.skip("the generator fixtures are not beside this checkout")
    latents = load_latents(folder / "latent_stylegan1.npy", None, latent_size=512, min_w_layers=10)
    average = load_average_latent(folder / "avg_latent_stylegan1.npy", latent_size=512, num_w_layers=18)
    assert (latents.values.shape, latents.space, average.shape) == ((4, 512), "z", (18, 512))


# --- faults ---


@pytest.mark.parametrize(
    ("array", "space", "parts"),
    [
        (np.zeros((3, 7)), None, ["(3, 7)", "(N, 8)", "latent size is 8"]),
        (np.zeros((3, 8, 4)), None, ["(3, 8, 4)", "latent size is 8"]),  # axes swapped
        (np.zeros((2, 2, 4, 8)), None, ["(2, 2, 4, 8)", "too many axes"]),
        (np.zeros((1, 3, 8)), None, ["(1, 3, 8)", "3 latents, or one of 3 rows", "pass --latent-space"]),
        (np.zeros((1, 19, 8)), None, ["(1, 19, 8)", "pass --latent-space"]),  # no generator has 19 rows
        (np.zeros((1, 4, 1, 8)), None, ["pass --latent-space"]),
        (np.zeros(()), None, ["()"]),
        (np.zeros((3, 3, 8)), None, ["3 layers", "at least 4"]),
        (np.zeros((3, 8)), "w+", ["(3, 8)", "(N, L, 8)", "3 layers; the checkpoint needs at least 4"]),
        (np.zeros((3, 4, 8)), "z", ["(3, 4, 8)", "(N, 8)", "'z'"]),
        (np.zeros((3, 4, 8)), "w", ["(3, 4, 8)", "'w'"]),
        (np.zeros((0, 8)), None, ["(0, 8)", "at least one"]),
        (np.zeros((3, 8), np.int64), None, ["int64", "float32"]),
        (np.zeros((3, 8), np.complex64), None, ["complex64"]),
        (np.zeros((3, 8), np.longdouble), None, ["expected float32"]),
        (np.array([[None] * 8]), None, ["Python objects"]),
        (np.array([["a"] * 8]), None, ["<U1", "expected float32"]),
        (np.zeros((3, 8), [("x", "f4")]), None, ["expected float32"]),
    ],
)
def test_a_wrong_array_is_named_in_one_line(tmp_path: Path, array: Any, space: Any, parts: list[str]) -> None:
    message = message_of(saved(tmp_path, array), load_latents, space, **SIZES)
    for part in parts:
        assert part in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_the_row_of_a_value_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    values = np.zeros((5, 4, 8))
    values[3, 1, 2] = values[3, 2, 2] = value
    message = message_of(saved(tmp_path, values), load_latents, None, **SIZES)
    assert "row 3" in message and "more" not in message
    values[4] = value
    assert "(and 1 row more)" in message_of(saved(tmp_path, values), load_latents, None, **SIZES)


@pytest.mark.parametrize("shape", [(3, 8), (7,), (4, 7), (2, 4, 8), (0, 8), (1, 3, 8)])
def test_a_wrong_average_latent_is_named(tmp_path: Path, shape: tuple[int, ...]) -> None:
    message = message_of(saved(tmp_path, np.zeros(shape)), load_average_latent, **AVERAGE_SIZES)
    assert str(shape) in message and "(8,)" in message and "L >= 4" in message


def test_an_average_latent_with_nan_is_refused(tmp_path: Path) -> None:
    assert "row 0" in message_of(saved(tmp_path, np.full(8, np.nan)), load_average_latent, **AVERAGE_SIZES)


def test_a_file_that_is_no_npy_is_named(tmp_path: Path) -> None:
    assert "does not exist" in message_of(tmp_path / "none.npy", load_latents, None, **SIZES)
    assert "folder" in message_of(tmp_path, load_latents, None, **SIZES)
    for content in (b"", b"text", b"\x93NUMPY", b"PK\x03\x04zip", b"\x80\x03pickle"):
        path = tmp_path / "bad.npy"
        path.write_bytes(content)
        assert "not a .npy" in message_of(path, load_latents, None, **SIZES)


def npy_bytes(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


WHOLE = npy_bytes(np.ones((3, 8), np.float32))


@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_file_is_always_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "latents.npy"
    path.write_bytes(WHOLE[:length])
    assert "truncated" in message_of(path, load_latents, None, **SIZES)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 127), st.integers(0, 255))
def test_a_damaged_header_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("bent") / "latents.npy"
    path.write_bytes(WHOLE[:position] + bytes([value]) + WHOLE[position + 1 :])
    try:
        assert load_latents(path, None, **SIZES).values.shape == (3, 8)
    except UsageError as error:
        assert "\n" not in str(error) and str(path) in str(error)


def test_a_header_that_promises_terabytes_is_refused_without_allocating(tmp_path: Path) -> None:
    path = tmp_path / "huge.npy"
    path.write_bytes(WHOLE.replace(b"(3, 8)", b"(9**9,8)").replace(b"9**9,8", b"9999999999, 8"))
    assert "huge.npy" in message_of(path, load_latents, None, **SIZES)
