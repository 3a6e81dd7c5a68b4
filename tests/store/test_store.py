"""The store as its users see it: both layouts, pixels, visibility of committed images, corruption,
durability.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr
from support.stores import brute_features, fill, filled, make_image, make_maps, make_meta, store_bytes
from support.variants import variants

import fstore
from fstore.errors import CorruptionError, MismatchError, OverflowError16, StoreError

GEOMETRIES = [
    pytest.param((64, 100), (8, 56), id="cropped-and-width-not-a-multiple-of-16"),
    pytest.param((48, 8), (3, 44), id="narrower-than-one-tile-odd-crop"),
    pytest.param((40, 40), None, id="height-not-a-multiple-of-the-band"),
    pytest.param((64, 64), (0, 64), id="everything-aligned"),
]


@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
@pytest.mark.parametrize(("grid", "crop"), variants(*GEOMETRIES, fast=2))
def test_dense_and_pyramid_hold_the_same_bits_and_match_brute_force(
    tmp_path: Path, grid, crop, upsample: str
) -> None:
    dense, pyramid = (make_meta(layout, grid, crop, upsample=upsample) for layout in ("dense", "pyramid"))
    filled(tmp_path / "d.zarr", dense)
    filled(tmp_path / "p.zarr", pyramid)
    a, b = fstore.open(tmp_path / "d.zarr"), fstore.open(tmp_path / "p.zarr")
    assert a.features.shape == b.features.shape == (3, dense.height, dense.width, dense.channels)
    assert a.features.dtype == b.features.dtype == np.float16
    left, right = a.features.compute(), b.features.compute()
    assert np.array_equal(left.view(np.uint16), right.view(np.uint16))
    for image in range(3):
        expected = brute_features(dense, image)
        np.testing.assert_allclose(left[image].astype(np.float32), expected, rtol=2**-11, atol=2e-5)
        if upsample == "nearest":  # values are taken, not made: nothing but their rounding to float16
            assert np.array_equal(left[image], expected.astype(np.float16))
    assert fstore.verify_store(tmp_path / "d.zarr").ok and fstore.verify_store(tmp_path / "p.zarr").ok


@pytest.mark.parametrize("upsample", variants("bilinear", "nearest"))
@pytest.mark.parametrize("layout", ["dense", "pyramid"])
@pytest.mark.parametrize(("grid", "crop"), variants(*GEOMETRIES, fast=2))
def test_pixels_are_the_bits_of_features(tmp_path: Path, layout: str, grid, crop, upsample: str) -> None:
    meta = make_meta(layout, grid, crop, upsample=upsample)
    filled(tmp_path / "s.zarr", meta)
    store = fstore.open(tmp_path / "s.zarr")
    random = np.random.default_rng(0)
    where = [random.integers(0, size, 300) for size in store.shape[:3]]
    expected = store.features.compute()[tuple(where)]
    assert np.array_equal(store.pixels(*where).view(np.uint16), expected.view(np.uint16))
    assert store.pixels([], [], []).shape == (0, meta.channels)


@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
def test_a_dask_slice_of_a_pyramid_equals_the_whole(tmp_path: Path, upsample: str) -> None:
    filled(tmp_path / "s.zarr", make_meta("pyramid", upsample=upsample))
    features = fstore.open(tmp_path / "s.zarr").features
    whole = features.compute()
    for key in [
        np.s_[1, 3:35, 5, 4:13],
        np.s_[:, 7, ::3, -2:],
        np.s_[0:2, 10:11],
        np.s_[-1, ..., 6],
        np.s_[2, 1, 2, 3],
    ]:
        assert np.array_equal(features[key].compute(), whole[key])


def test_dask_blocks_follow_the_shards(tmp_path: Path) -> None:
    filled(tmp_path / "s.zarr", make_meta("dense", (64, 100)))
    store = fstore.open(tmp_path / "s.zarr")
    assert store.features.chunks == ((1, 1, 1), (32, 32), (100,), (18,))
    raw = zarr.open_group(tmp_path / "s.zarr")["features"]
    assert raw.chunks == (1, 16, 16, 18)
    assert raw.shards == (1, 32, 112, 18)
    plain = da.from_zarr(raw, chunks=raw.shards)
    assert np.array_equal(plain.compute(), store.features.compute())


@pytest.mark.parametrize("layout", ["dense", "pyramid"])
def test_only_committed_images_are_visible(tmp_path: Path, layout: str) -> None:
    meta = make_meta(layout)
    filled(tmp_path / "s.zarr", meta, num_images=4, images=[0, 2])
    store = fstore.open(tmp_path / "s.zarr")
    assert store.image_ids.tolist() == [0, 2]
    assert store.num_images == 4
    assert (
        store.features.shape[0]
        == store.masks.shape[0]
        == store.images.shape[0]
        == store.latents.shape[0]
        == 2
    )
    np.testing.assert_allclose(store.features[1].compute(), brute_features(meta, 2), rtol=2**-10, atol=2e-5)
    assert np.array_equal(store.masks[1].compute(), make_image(meta, 2)[1])
    assert np.array_equal(store.pixels([1], [3], [4])[0], store.features[1, 3, 4].compute())
    assert store.class_counts.shape == (2, 3, 3, 4)


@pytest.mark.parametrize("layout", ["dense", "pyramid"])
def test_a_resumed_store_has_the_files_and_bytes_of_an_undisturbed_one(tmp_path: Path, layout: str) -> None:
    meta = make_meta(layout)
    filled(tmp_path / "whole.zarr", meta)
    filled(tmp_path / "resumed.zarr", meta, images=[1])
    # What a kill leaves: shards of an uncommitted image, one of them cut short, and a temporary file.
    name = "features/c/2" if layout == "dense" else "layers/3_b64_out/c/2"
    shutil.copytree(tmp_path / "whole.zarr" / name, tmp_path / "resumed.zarr" / name)
    damaged = sorted(p for p in (tmp_path / "resumed.zarr" / name).rglob("*") if p.is_file())[-1]
    damaged.write_bytes(damaged.read_bytes()[:100])
    damaged.with_name(f"0.{'a' * 32}.partial").write_bytes(b"half")
    fill(tmp_path / "resumed.zarr", meta)
    assert store_bytes(tmp_path / "resumed.zarr") == store_bytes(tmp_path / "whole.zarr")


def test_an_unreadable_marker_counts_as_not_committed(tmp_path: Path) -> None:
    meta = make_meta()
    filled(tmp_path / "s.zarr", meta)
    marker = tmp_path / "s.zarr" / "committed" / "c" / "1"
    marker.write_bytes(b"\x00garbage")
    assert fstore.open(tmp_path / "s.zarr").image_ids.tolist() == [0, 2]
    fill(tmp_path / "s.zarr", meta)
    assert fstore.open(tmp_path / "s.zarr").image_ids.tolist() == [0, 1, 2]


def test_a_creation_cut_off_is_begun_again(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "s.zarr", attributes={"fstore": {"creating": True}})
    group.create_array("features", shape=(2, 2), dtype="f4")
    with pytest.raises(StoreError, match="cut off"):
        fstore.open(tmp_path / "s.zarr")
    fill(tmp_path / "s.zarr", make_meta())
    assert len(fstore.open(tmp_path / "s.zarr")) == 3


def test_another_setting_is_refused_by_name_and_created_is_not_a_setting(tmp_path: Path) -> None:
    from dataclasses import replace

    meta = make_meta()
    filled(tmp_path / "s.zarr", meta, images=[0])
    fill(tmp_path / "s.zarr", replace(meta, created={"time": "later"}), images=[1])
    with pytest.raises(MismatchError, match=r"generator\.sha256 = '0000"):
        fill(tmp_path / "s.zarr", replace(meta, generator={"sha256": "1" * 64}))
    with pytest.raises(MismatchError, match="latents of shape"):
        fill(tmp_path / "s.zarr", meta, num_images=5)


def test_a_folder_that_is_no_store_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("two years of work")
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="not a store of this program"):
            fstore.create(
                tmp_path / "thesis", make_meta(), num_images=1, latent_shape=(8,), overwrite=overwrite
            )
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_a_newer_format_version_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "s.zarr", make_meta())
    group = zarr.open_group(tmp_path / "s.zarr")
    group.attrs.put({"fstore": {**group.attrs["fstore"], "version": 4}})
    for use in (fstore.open, fstore.verify_store, lambda path: fill(path, make_meta())):
        with pytest.raises(StoreError, match="version 4 is newer than 3"):
            use(tmp_path / "s.zarr")


@pytest.mark.parametrize("value", [70000.0, float("inf"), float("nan")])
def test_a_feature_that_float16_cannot_hold_names_layer_and_value(tmp_path: Path, value: float) -> None:
    meta = make_meta()
    writer = fstore.create(tmp_path / "s.zarr", meta, num_images=1, latent_shape=(8,))
    maps = make_maps(0)
    maps[1][2, 3, 4] = value
    picture, mask = make_image(meta, 0)
    with pytest.raises(OverflowError16, match=f"'b8_out': feature value {value:.6g}"):
        writer.write_image(0, maps, picture, mask, np.zeros(8, np.float32))
    assert writer.pending() == [0]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda p: p.unlink(), "missing or empty", id="shard-deleted"),
        pytest.param(
            lambda p: p.write_bytes(b""), "missing or empty", id="shard-emptied-zarr-would-read-zeros"
        ),
        pytest.param(
            lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), "truncated", id="shard-cut"
        ),
        pytest.param(lambda p: flip(p, 40), "damaged", id="a-bit-flipped-in-a-chunk"),
        pytest.param(lambda p: flip(p, -30), "index is damaged", id="a-bit-flipped-in-the-index"),
        pytest.param(
            lambda p: drop_chunk(p), "absent from its shard", id="chunk-skipped-zarr-would-read-zeros"
        ),
    ],
)
def test_corruption_is_named_not_read_as_zeros(tmp_path: Path, damage, says: str) -> None:
    filled(tmp_path / "s.zarr", make_meta("dense", (40, 40)))
    damage(tmp_path / "s.zarr" / "features" / "c" / "1" / "0" / "0" / "0")
    store = fstore.open(tmp_path / "s.zarr")
    with pytest.raises(CorruptionError, match=rf"array 'features', image 1, (shard|chunk) .*{says}"):
        store.features[1].compute(scheduler="sync")
    store.features[0].compute()
    report = fstore.verify_store(tmp_path / "s.zarr")
    assert not report.ok
    assert "image 1" in report.problems[0]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


def drop_chunk(path: Path) -> None:
    """Mark the first inner chunk as absent, with a valid index checksum, as a writer that skips zeros leaves
    it.
    """
    from google_crc32c import value

    data = path.read_bytes()
    size = 16 * 2 * 3
    index = b"\xff" * 16 + data[-size - 4 + 16 : -4]
    path.write_bytes(data[: -size - 4] + index + value(index).to_bytes(4, "little"))


def test_zeros_are_written_like_any_other_value(tmp_path: Path) -> None:
    meta = make_meta("dense")
    writer = fstore.create(tmp_path / "s.zarr", meta, num_images=1, latent_shape=(8,))
    maps = [values * 0 for values in make_maps(0)]
    zeros = np.zeros((meta.height, meta.width), np.uint8)
    writer.write_image(0, maps, np.zeros((*zeros.shape, 3), np.uint8), zeros, np.zeros(8, np.float32))
    assert fstore.verify_store(tmp_path / "s.zarr").ok
    assert not fstore.open(tmp_path / "s.zarr").features.compute().any()


def test_verify_accepts_a_good_store_and_finds_a_wrong_index(tmp_path: Path) -> None:
    filled(tmp_path / "s.zarr", make_meta("pyramid"), num_images=4, images=[0, 1, 3])
    report = fstore.verify_store(tmp_path / "s.zarr")
    assert report.ok
    assert (report.checked, report.num_images) == (3, 4)
    counts = zarr.open_group(tmp_path / "s.zarr")["class_counts"]
    counts[1] = counts[1] + np.uint16(1)
    assert "class_counts" in fstore.verify_store(tmp_path / "s.zarr").problems[0]


def test_the_store_shows_itself_in_a_terminal_and_in_jupyter(tmp_path: Path) -> None:
    from dataclasses import replace

    meta = make_meta()
    meta = replace(meta, classes=(replace(meta.classes[0], name="<b>hat</b>"), *meta.classes[1:]))
    filled(tmp_path / "s.zarr", meta, num_images=4, images=[0, 1])
    store = fstore.open(tmp_path / "s.zarr")
    text, html = repr(store), store._repr_html_()
    for shown in ("2 of 4 committed", "dense", "zstd", "pixels in 2 images", "crc32c"):
        assert shown in text
    assert "&lt;b&gt;hat" in html
    assert "<b>hat" not in html
    assert "#148040" in html


def test_a_store_at_a_url_works_like_one_in_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    meta = make_meta("pyramid")
    fill("memory://bucket/s.zarr", meta)
    filled(tmp_path / "s.zarr", meta)
    remote, local = fstore.open("memory://bucket/s.zarr"), fstore.open(f"file://{tmp_path}/s.zarr")
    assert np.array_equal(remote.features.compute(), local.features.compute())
    assert fstore.verify_store("memory://bucket/s.zarr").ok


def test_credentials_in_a_url_are_never_shown() -> None:
    from fstore.location import Location

    assert str(Location.parse("s3://key:secret@bucket/a.zarr?token=x")) == "s3://bucket/a.zarr"


def test_a_store_has_one_writer_at_a_time(tmp_path: Path) -> None:
    meta = make_meta()
    writer = fstore.create(tmp_path / "s.zarr", meta, num_images=2, latent_shape=(8,))
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="another writer has it open"):
            fstore.create(tmp_path / "s.zarr", meta, num_images=2, latent_shape=(8,), overwrite=overwrite)
    writer.close()
    fill(tmp_path / "s.zarr", meta, num_images=2)
    assert fstore.verify_store(tmp_path / "s.zarr").ok


def test_a_committed_image_is_never_written_again(tmp_path: Path) -> None:
    meta = make_meta()
    filled(tmp_path / "s.zarr", meta, num_images=2, images=[0])
    writer = fstore.create(tmp_path / "s.zarr", meta, num_images=2, latent_shape=(8,))
    picture, mask = make_image(meta, 0)
    with pytest.raises(StoreError, match="committed already"):
        writer.write_image(0, make_maps(0), picture, mask, np.zeros(8, np.float32))
    assert len(fstore.open(tmp_path / "s.zarr")) == 1


@pytest.mark.parametrize("label", [4, 254, -1, 300])
def test_a_label_of_no_class_is_refused_not_wrapped(tmp_path: Path, label: int) -> None:
    meta = make_meta(num_classes=4)
    writer = fstore.create(tmp_path / "s.zarr", meta, num_images=1, latent_shape=(8,))
    picture, mask = make_image(meta, 0)
    mask = mask.astype(np.int64)
    mask[3, 3] = label
    with pytest.raises(StoreError, match=f"label {label}, expected 0 to 3 or 255"):
        writer.write_image(0, make_maps(0), picture, mask, np.zeros(8, np.float32))


def test_overwriting_keeps_a_link_and_what_is_not_the_stores(tmp_path: Path) -> None:
    meta = make_meta()
    (tmp_path / "big-disk").mkdir()
    (tmp_path / "s.zarr").symlink_to(tmp_path / "big-disk")
    fill(tmp_path / "s.zarr", meta, num_images=1)
    (tmp_path / "big-disk" / "notes.txt").write_text("mine")
    fstore.create(tmp_path / "s.zarr", meta, num_images=1, latent_shape=(8,), overwrite=True)
    assert (tmp_path / "s.zarr").is_symlink()
    assert (tmp_path / "big-disk" / "notes.txt").read_text() == "mine"
    assert len(fstore.open(tmp_path / "s.zarr")) == 0
    (tmp_path / "dangling.zarr").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="link to"):
        fill(tmp_path / "dangling.zarr", meta)


@pytest.mark.parametrize("cut", variants(1, 5, 0, 3, fast=2))
def test_an_overwrite_cut_off_at_any_moment_is_begun_again(
    tmp_path: Path, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = make_meta()
    filled(tmp_path / "s.zarr", meta)
    remove, removed = shutil.rmtree, []

    def cut_off(path: Path) -> None:
        if len(removed) == cut:
            raise KeyboardInterrupt
        removed.append(path)
        remove(path)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", cut_off)
        with pytest.raises(KeyboardInterrupt):
            fstore.create(tmp_path / "s.zarr", meta, num_images=3, latent_shape=(8,), overwrite=True)
    with pytest.raises(StoreError, match="cut off"):
        fstore.open(tmp_path / "s.zarr")
    fill(tmp_path / "s.zarr", meta)
    assert fstore.verify_store(tmp_path / "s.zarr").ok


def test_a_strided_read_touches_only_the_range_it_needs(tmp_path: Path) -> None:
    from fstore.views import View

    whole = np.arange(5 * 7 * 9).reshape(5, 7, 9)
    asked = []

    def read(region: tuple[tuple[int, int], ...]) -> np.ndarray:
        asked.append(region)
        return whole[tuple(slice(a, b) for a, b in region)]

    view = View(whole.shape, "int64", np.arange(5), read)
    for key in [np.s_[1:2, 2:6:3, 0:4], np.s_[::2, -1, ::-2], np.s_[4, 6:1:-2], np.s_[0:0, 1], np.s_[:, 5:2]]:
        assert np.array_equal(view[key], whole[key])
    assert asked[0] == ((1, 2), (2, 6), (0, 4))


def test_a_url_without_its_library_is_one_clear_line() -> None:
    with pytest.raises(
        StoreError, match=r"^oss://bucket/x.zarr: .*'oss' is not installed .*ossfs.*pip install"
    ):
        fstore.open("oss://bucket/x.zarr")
