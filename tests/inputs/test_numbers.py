"""The number in a file's name: one rule for masks, pictures, latents, LabelMe and COCO."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inputs.numbers import image_number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("3.png", 3),
        ("0000.PNG", 0),
        ("image_3.png", 3),
        ("image_mask3.npy", 3),  # the released program's masks
        ("image_3_mask.png", 3),  # beside what `dgan sample` writes
        ("seed0003.png", 3),  # NVIDIA's generate.py
        ("latents_image_3.npy", 3),  # EditGAN
        ("projected_w_3.npz", 3),
        ("00000_hair.png", 0),  # CelebAMask-HQ
        ("00012_l_eye2.png", 12),  # the class has a digit
        ("0_mask.png", 0),
        ("0mask.png", 0),
        ("seed3_hair2.png", 3),
        ("images/task 7/abcd1234-image_3.png", 3),  # Label Studio's upload prefix
        (r"C:\pictures 9\image_3.png", 3),
        ("image_3_png.rf.0a1b2c3d.jpg", 3),  # Roboflow
        ("image_3_png.rf.0a1b2c3d_mask.png", 3),
        ("image_3.jpg.json", 3),  # Supervisely
        ("image_3.jpg___fuse.png", 3),  # SuperAnnotate
        ("image_3_512x512.png", 3),
        ("000003_1024.png", 1024),  # the last: two files of this kind are refused as one image
        ("img-3 (1).png", 3),  # a browser's second download
        ("image (3).png", 3),  # Explorer's numbering of many files
        ("image_3 - Copy.png", 3),
        ("image_3 copy 2.png", 3),
        ("berlin_000000_000019_gtFine_labelIds.png", 19),
        ("20240131_img_3.png", 3),
        ("1706712345678_3.png", 3),  # a time stamp is no number
        ("классы_3.png", 3),
        ("8f3a-portrait.png", None),
        ("average_latent.npy", None),
        ("mask.png", None),
        ("1706712345678.png", None),
        ("task-1-annotation-2-by-1-tag-hair-0.png", None),  # Label Studio: none is the picture's
        ("", None),
    ],
)
def test_the_number_is_that_of_the_image(name: str, number: int | None) -> None:
    assert image_number(name) == number


PREFIXES = ("", "image_", "img", "seed", "image_mask", "sample-", "latents_image_", "face_", "x1/y2/")
SUFFIXES = ("", "_mask", "_label", "-seg", "_labelIds", " (1)", " - Copy", "_hair", "_512x512")


@given(
    st.sampled_from(PREFIXES),
    st.integers(0, 999_999_999),
    st.integers(1, 9),
    st.sampled_from(SUFFIXES),
    st.sampled_from((".png", ".jpg", ".npy", ".json", ".npz", ".pt", ".jpeg.png")),
)
def test_every_usual_name_gives_back_its_number(
    prefix: str, number: int, width: int, suffix: str, ending: str
) -> None:
    assert image_number(f"{prefix}{number:0{width}d}{suffix}{ending}") == number


@given(st.text())
def test_any_text_has_a_number_below_a_billion_or_none(name: str) -> None:
    number = image_number(name)
    assert number is None or 0 <= number < 10**9
