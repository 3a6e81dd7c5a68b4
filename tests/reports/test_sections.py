"""The parts below the gallery: confused classes and near-duplicates, of stores whose answer is known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from support.commands import done
from support.small_datasets import make_classes

import fstore
from fstore import format as fmt

NAMES = ("sky", "sea", "land")


def write(path: Path, images: np.ndarray, votes: np.ndarray | None, names: Sequence[str] = NAMES) -> Path:
    """A dataset of ``images`` (N, H, W, 3); of each image the same member ``votes`` (K, K)."""
    num, height, width = images.shape[:3]
    meta = fmt.DatasetMeta((height, width), make_classes(names), 4, member_votes=votes is not None)
    parts = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in fmt.dataset_arrays(meta, num)}
    parts["images"] = images
    if votes is not None:
        parts["member_votes"][:] = votes
    writer = fstore.create_dataset(path, meta, num_images=num)
    writer.write_task(0, parts)
    writer.close()
    return path


def page_of(store: Path) -> str:
    """The page's text, each run of white space as one space."""
    out = store.with_suffix(".html")
    done("report", store, "--out", out)
    return re.sub(r"\s+", " ", out.read_text())


def different(num: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, 32, 32, 3)).astype(np.uint8)


def test_the_pairs_that_the_members_confuse_are_ranked(tmp_path: Path) -> None:
    """Of 100 votes at sea and land, 3 + 7 are for the other; of 110 at sky and sea, 1."""
    votes = np.array([[59, 1, 0], [0, 47, 3], [0, 7, 43]])
    text = page_of(write(tmp_path / "d.zarr", different(4), votes))
    rows = re.findall(
        r"<bdi[^>]*>(\w+)</bdi> &nbsp;↔&nbsp; .*?>(\w+)</bdi></th>.*?>([\d.]+%)</td> .*?>(\d+)</td>", text
    )
    assert rows == [("sea", "land", "10.0%", "40"), ("sky", "sea", "0.91%", "4")]


def test_members_that_agree_everywhere_are_said_to(tmp_path: Path) -> None:
    assert "The members agree at every pixel" in page_of(
        write(tmp_path / "d.zarr", different(2), np.diag([3, 4, 5]))
    )


def test_a_dataset_without_votes_says_so(tmp_path: Path) -> None:
    assert "does not hold the members' votes" in page_of(write(tmp_path / "d.zarr", different(2), None))


def test_copies_are_found_among_all_images_and_shown_in_pairs(tmp_path: Path) -> None:
    images = different(20)
    images[17] = images[3]
    text = page_of(write(tmp_path / "d.zarr", images, None))
    assert "1 pair of images with a similarity" in text and "of all 20 images" in text
    assert "#3 and #17" in text and "similarity 1.0000" in text
    first, second = re.findall(r'<img src="(data:[^"]*)" alt="Image (?:3|17)"', text)
    assert first == second


def test_no_copies_are_said_to_be_none(tmp_path: Path) -> None:
    assert "None: no two of the 20 images" in page_of(write(tmp_path / "d.zarr", different(20), None))


def test_hostile_names_in_tables_are_text(tmp_path: Path) -> None:
    names = ("<i>sky</i>", "sea", "land")
    text = page_of(write(tmp_path / "d.zarr", different(2), np.full((3, 3), 2), names))
    assert "<i>" not in text and "&lt;i&gt;sky&lt;/i&gt;" in text
