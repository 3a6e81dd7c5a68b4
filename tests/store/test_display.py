"""What a store says of its classes: pixels, images, and warnings of classes that hardly occur."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.stores import make_image, make_maps, make_meta

import fstore
from fstore import display
from fstore import format as fmt
from pipeline.cli import main

SIDE = 40
NAMES = ("background", "hair", "hat", "<i>tie</i>", "ring")


HOSTILE = "sk\x1b[31m\nin"


def fill(path: Path, masks: list[np.ndarray], num_images: int | None = None) -> fstore.FeatureStore:
    classes = tuple(fmt.ClassInfo(i, name, f"#{i:06x}") for i, name in enumerate(NAMES))
    meta = replace(make_meta("pyramid", grid=(SIDE, SIDE)), classes=classes)
    writer = fstore.create(path, meta, num_images=num_images or len(masks), latent_shape=(8,))
    for i, mask in enumerate(masks):
        writer.write_image(i, make_maps(i), make_image(meta, i)[0], mask, np.zeros(8, np.float32))
    store = fstore.open(path)
    assert isinstance(store, fstore.FeatureStore)
    return store


def mask_of(*classes: int) -> np.ndarray:
    """Ten pixels of each class but background."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for row, label in enumerate(classes):
        mask[row, :10] = label
    return mask


def test_each_class_has_its_name_colour_pixels_and_images(tmp_path: Path) -> None:
    masks = [mask_of(1, 2), mask_of(1), mask_of(1, 3), mask_of(1, 2, 3)]
    store = fill(tmp_path / "s.zarr", masks)
    stacked = np.stack(masks)
    for number, name, color, pixels, images in display.class_rows(store):
        assert (name, color) == (NAMES[number], f"#{number:06x}")
        assert pixels == (stacked == number).sum()
        assert images == (stacked == number).any(axis=(1, 2)).sum()


def test_rare_and_absent_classes_are_warned_of_in_text_and_html(tmp_path: Path) -> None:
    fill(tmp_path / "s.zarr", [mask_of(1, 2), mask_of(1), mask_of(1, 3), mask_of(1, 2)])
    result = CliRunner().invoke(main, ["info", str(tmp_path / "s.zarr")])
    assert result.exit_code == 0
    assert "      2 #000002 hat                        20 pixels in 2 images" in result.stdout
    assert "  warning    classes in fewer than 3 images: hat (2), <i>tie</i> (1)" in result.stdout
    assert "  warning    classes in no image: ring" in result.stdout
    html = fstore.open(tmp_path / "s.zarr")._repr_html_()
    assert "in fewer than 3 images: hat (2), &lt;i&gt;tie&lt;/i&gt; (1)</p>" in html and "<i>" not in html


@pytest.mark.parametrize("num_images", [1, 2])
def test_of_few_images_none_is_asked_to_be_more(tmp_path: Path, num_images: int) -> None:
    store = fill(tmp_path / "s.zarr", [mask_of(1, 2, 3, 4)] * num_images, num_images=5)
    assert display.class_warnings(store) == []


def test_a_store_without_a_committed_image_warns_of_nothing(tmp_path: Path) -> None:
    assert display.class_warnings(fill(tmp_path / "s.zarr", [], num_images=3)) == []


def dataset(path: Path, labels: np.ndarray) -> fstore.Dataset:
    classes = tuple(fmt.ClassInfo(i, name, f"#{i:06x}") for i, name in enumerate(NAMES))
    n, *shape = labels.shape
    writer = fstore.create_dataset(path, fmt.DatasetMeta((shape[0], shape[1]), classes, 8), num_images=n)
    for task in writer.pending_tasks():
        part = labels[list(writer.task_images(task))]
        parts = {
            "images": np.zeros((*part.shape, 3), np.uint8),
            "labels": part,
            "divergence": np.zeros(part.shape, np.float16),
            "uncertainty": np.zeros(len(part), np.float32),
            "latents": np.zeros((len(part), 8), np.float32),
        }
        writer.write_task(task, parts)
    writer.close()
    store = fstore.open(path)
    assert isinstance(store, fstore.Dataset)
    return store


def test_a_small_datasets_labels_are_counted_and_a_large_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.stack([mask_of(1, 2), mask_of(1)])
    store = dataset(tmp_path / "d.zarr", labels)
    counted = [(pixels, images) for *_, pixels, images in display.class_rows(store)]
    assert counted == [((labels == k).sum(), (labels == k).any(axis=(1, 2)).sum()) for k in range(5)]
    assert "20 pixels in 2 images" in repr(store) and "warning" not in repr(store)
    monkeypatch.setattr(display, "COUNTED_BYTES", labels.size - 1)
    assert "pixels in" not in repr(store)


@pytest.mark.usefixtures("tasks_of_16")
def test_a_filtered_dataset_that_lost_a_marker_shows_what_is_committed(tmp_path: Path) -> None:
    labels = np.stack([mask_of(1 + i % 4) for i in range(20)])
    path = tmp_path / "d.zarr"
    dataset(path, labels)
    kept = np.arange(20) < 18
    fstore.set_kept(path, kept, "0.9", 0.0)
    (path / "committed" / "c" / "0").unlink()
    text = repr(fstore.open(path))
    assert "4 of 20 committed" in text and "2 of 4 (keep 0.9" in text
    words = {line.split()[2]: line.split()[3:] for line in text.splitlines() if " #0" in line}
    assert words["hair"] == ["10", "1", "10", "1"] and words["ring"] == ["10", "1", "0", "0"]
    assert CliRunner().invoke(main, ["info", str(path)]).exit_code == 0


def test_damaged_labels_leave_the_rest_of_a_dataset_to_be_shown(tmp_path: Path) -> None:
    store = dataset(tmp_path / "d.zarr", np.stack([mask_of(1, 2)]))
    path = tmp_path / "d.zarr" / "labels" / "c" / "0" / "0" / "0"
    path.write_bytes(path.read_bytes()[:-1])
    assert "hair" in repr(store) and "pixels in" not in repr(store)


def test_an_attribute_of_another_program_is_shown_escaped(tmp_path: Path) -> None:
    record = {"s": "\ud800", "a\nb": {"key": "x\x1b[31m"}, "plain": "é"}
    meta = replace(make_meta(), generator=record)
    fstore.create(tmp_path / "s.zarr", meta, num_images=1, latent_shape=(8,)).close()
    result = CliRunner().invoke(main, ["info", str(tmp_path / "s.zarr")])
    assert result.exit_code == 0
    shown = r"generator  s \ud800, a\nb (key x\x1b[31m), plain é"
    assert f"  {shown}\n" in result.stdout
    assert r"<td>s \ud800, a\nb" in fstore.open(tmp_path / "s.zarr")._repr_html_()


def test_a_name_of_another_program_moves_no_cursor_and_breaks_no_line(tmp_path: Path) -> None:
    meta = replace(make_meta(), classes=(fmt.ClassInfo(0, HOSTILE, "#000000"),))
    store = fstore.create(tmp_path / "s.zarr", meta, num_images=1, latent_shape=(8,))
    store.close()
    assert "#000000 sk\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}in" in repr(
        fstore.open(tmp_path / "s.zarr")
    )
