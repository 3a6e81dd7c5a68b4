"""The format's pure functions: names, shapes, chunk arithmetic, the attribute."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.places import REPOSITORY

from fstore import format as fmt
from fstore.errors import MismatchError, StoreError

SPECIFICATION = REPOSITORY / "docs" / "format.md"

sides = st.integers(1, 9)
texts = st.text(max_size=8)
records = st.dictionaries(
    texts, st.none() | st.booleans() | st.integers(0, 9) | texts | st.lists(st.integers(0, 9)), max_size=3
)


@st.composite
def regions(draw: st.DrawFn, dimensions: int = 2) -> tuple[fmt.Region, tuple[int, ...], tuple[int, ...]]:
    """A region [start, stop) of an array, the array's shape and a shard's; the region may cut shards."""
    region, shape, shard = [], [], []
    for _ in range(dimensions):
        size = draw(st.integers(1, 24))
        start = draw(st.integers(0, size - 1))
        region.append((start, draw(st.integers(start + 1, size))))
        shape.append(size)
        shard.append(draw(sides))
    return tuple(region), tuple(shape), tuple(shard)


def members(region: fmt.Region) -> set[tuple[int, ...]]:
    return set(product(*(range(start, stop) for start, stop in region)))


def shard_members(
    unit: tuple[int, ...], shard: tuple[int, ...], shape: tuple[int, ...]
) -> set[tuple[int, ...]]:
    bounds = [(u * s, min((u + 1) * s, size)) for u, s, size in zip(unit, shard, shape, strict=True)]
    return members(tuple(bounds))


@given(regions())
def test_units_are_the_shards_that_a_region_touches_each_once(case) -> None:
    region, shape, shard = case
    units = fmt.units(region, shard)
    assert len(units) == len(set(units))
    inside = members(region)
    assert inside <= set().union(*(shard_members(unit, shard, shape) for unit in units))
    assert all(inside & shard_members(unit, shard, shape) for unit in units)


@given(st.integers(1, 2000))
def test_bands_partition_the_rows_and_none_cuts_a_shard(height: int) -> None:
    bands = fmt.bands(height)
    assert [row for start, stop in bands for row in range(start, stop)] == list(range(height))
    assert all(start % fmt.BAND == 0 and 0 < stop - start <= fmt.BAND for start, stop in bands)


@given(regions())
def test_a_region_is_accepted_exactly_if_it_holds_every_shard_that_it_touches_whole(case) -> None:
    region, shape, shard = case
    spec = fmt.ArraySpec("features", shape, "float16", tuple(1 for _ in shape), shard, ("y", "x"))
    touched = set().union(*(shard_members(unit, shard, shape) for unit in fmt.units(region, shard)))
    if touched == members(region):
        fmt.check_aligned(spec, region)
    else:
        with pytest.raises(StoreError, match=r"'features': region .* not aligned to its shards"):
            fmt.check_aligned(spec, region)


@pytest.mark.parametrize(
    "region", [((0, 40), (0, 9)), ((-32, 0), (0, 8)), ((0, 0), (0, 8))], ids=["beyond", "negative", "empty"]
)
def test_a_region_outside_the_array_is_refused(region: fmt.Region) -> None:
    spec = fmt.ArraySpec("a", (40, 8), "float16", (16, 8), (32, 8), ("y", "x"))
    fmt.check_aligned(spec, ((0, 40), (0, 8)))
    with pytest.raises(StoreError):
        fmt.check_aligned(spec, region)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 5), st.integers(0, 99))
def test_class_counts_are_those_of_counting_pixel_by_pixel(
    height: int, width: int, num_classes: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    mask = random.integers(0, num_classes + 2, (height, width)).astype(np.uint8)  # the two beyond are ignored
    mask[random.random(mask.shape) < 0.1] = 255
    expected = np.zeros((ceil(height / 16), ceil(width / 16), num_classes), np.int64)
    for y, x in product(range(height), range(width)):
        if mask[y, x] < num_classes:
            expected[y // 16, x // 16, mask[y, x]] += 1
    counts = fmt.class_counts(mask, num_classes)
    assert counts.dtype == np.uint16
    assert np.array_equal(counts, expected)


def named_classes(names: list[str]) -> tuple[fmt.ClassInfo, ...]:
    return tuple(fmt.ClassInfo(i, name, "#00ff7f") for i, name in enumerate(names))


@st.composite
def feature_metas(draw: st.DrawFn) -> fmt.FeatureMeta:
    grid = (draw(st.integers(1, 80)), draw(st.integers(1, 140)))
    first = draw(st.integers(0, grid[0] - 1))
    native = draw(
        st.lists(
            st.tuples(st.just("layer"), st.tuples(sides, st.integers(1, 200)), sides), min_size=1, max_size=4
        )
    )
    return fmt.FeatureMeta(
        layout=draw(st.sampled_from(fmt.LAYOUTS)),
        grid=grid,
        crop_rows=(first, draw(st.integers(first + 1, grid[0]))),
        layers=fmt.build_layers([(f"{name}_{i}", size, c) for i, (name, size, c) in enumerate(native)], grid),
        classes=named_classes(draw(st.lists(texts, min_size=1, max_size=4))),
        ignore=draw(st.none() | st.integers(5, 65535)),
        generator=draw(records),
        inputs=draw(records),
        created=draw(records),
    )


dataset_metas = st.builds(
    fmt.DatasetMeta,
    shape=st.tuples(st.integers(1, 600), st.integers(1, 600)),
    classes=st.lists(texts, min_size=1, max_size=4).map(named_classes),
    latent_size=st.integers(1, 512),
    ignore=st.none() | st.integers(0, 65535),
    score=st.sampled_from(["top10", "mean", "sum"]),
    seed=st.integers(0, 2**63 - 1),
    interpreter=records,
    generator=records,
    keep=st.none() | st.just("0.9"),
    threshold=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    created=records,
    member_votes=st.booleans(),
)


@given(st.one_of(feature_metas(), dataset_metas))
def test_the_attribute_reads_back_equal_through_json(meta: fmt.FeatureMeta | fmt.DatasetMeta) -> None:
    attribute = json.loads(json.dumps(meta.to_attribute()))
    assert type(meta).from_attribute(attribute, "a.zarr") == meta
    fmt.check_same(attribute, json.loads(json.dumps(meta.to_attribute())), "a.zarr")


@given(feature_metas(), st.integers(1, 70))
def test_every_array_can_be_sharded_and_none_has_two_images_in_a_file(
    meta: fmt.FeatureMeta, num_images: int
) -> None:
    specs = [*fmt.feature_arrays(meta, num_images, (18, 8)), fmt.committed_array("features", num_images)]
    assert len({spec.name for spec in specs}) == len(specs)
    for spec in specs:
        unit = spec.shards or spec.chunks
        assert len(spec.shape) == len(spec.chunks) == len(unit) == len(spec.dimension_names)
        assert spec.shape[0] == num_images
        assert unit[0] == 1
        assert all(side % chunk == 0 for side, chunk in zip(unit, spec.chunks, strict=True))


@given(dataset_metas, st.integers(1, 200))
def test_every_task_of_a_dataset_has_files_of_its_own(meta: fmt.DatasetMeta, num_images: int) -> None:
    specs = [*fmt.dataset_arrays(meta, num_images), fmt.committed_array("dataset", num_images)]
    for spec in specs:
        unit = spec.shards or spec.chunks
        assert unit == (fmt.TASK_IMAGES, *spec.shape[1:])
        assert all(side % chunk == 0 for side, chunk in zip(unit, spec.chunks, strict=True))


latent_shapes = st.lists(st.integers(1, 20), min_size=1, max_size=2)


@given(feature_metas(), latent_shapes, latent_shapes, st.none() | st.integers(1, 5))
def test_one_dimension_name_has_one_length_in_a_feature_store(
    meta: fmt.FeatureMeta, latent_shape: list[int], average_shape: list[int], num_keypoints: int | None
) -> None:
    meta = replace(meta, keypoints=num_keypoints and named_keypoints(num_keypoints))
    specs = [
        *fmt.feature_arrays(meta, 3, latent_shape),
        fmt.average_latent_array(average_shape),
        fmt.committed_array("features", 3),
    ]
    assert_one_length_a_name(specs)


@given(dataset_metas, st.integers(1, 200), st.none() | st.integers(1, 5))
def test_one_dimension_name_has_one_length_in_a_dataset(
    meta: fmt.DatasetMeta, num_images: int, num_keypoints: int | None
) -> None:
    points = num_keypoints and named_keypoints(num_keypoints)
    meta = replace(meta, keypoints=points, member_votes=meta.member_votes and not points)
    specs = [
        *fmt.dataset_arrays(meta, num_images),
        fmt.kept_array(num_images),
        fmt.committed_array("dataset", num_images),
    ]
    assert_one_length_a_name(specs)


def named_keypoints(count: int) -> fmt.KeypointInfo:
    return fmt.KeypointInfo(tuple(f"point {i}" for i in range(count)), 1.5)


def assert_one_length_a_name(specs: list[fmt.ArraySpec]) -> None:
    lengths: dict[str, int] = {}
    for spec in specs:
        assert len(set(spec.dimension_names)) == len(spec.dimension_names) == len(spec.shape)
        for name, size in zip(spec.dimension_names, spec.shape, strict=True):
            assert lengths.setdefault(name, size) == size, f"{spec.name}: {name}"


@given(feature_metas())
def test_a_pyramid_has_the_channels_of_the_dense_array_and_never_more_than_its_pixels(
    meta: fmt.FeatureMeta,
) -> None:
    dense = fmt.feature_arrays(replace(meta, layout="dense"), 1, (8,))[0]
    layers = [
        s
        for s in fmt.feature_arrays(replace(meta, layout="pyramid"), 1, (8,))
        if s.name.startswith("layers/")
    ]
    assert sum(spec.shape[-1] for spec in layers) == dense.shape[-1] == meta.channels
    assert all(spec.shape[1] <= meta.grid[0] and spec.shape[2] <= meta.grid[1] for spec in layers)
    assert dense.shape[1:3] == (meta.height, meta.width)


def test_layers_finer_than_the_grid_are_reduced_to_it_side_by_side_and_offsets_add_up() -> None:
    layers = fmt.build_layers([("a", (4, 4), 6), ("b", (64, 8), 5), ("c", (128, 128), 3)], (32, 48))
    assert [layer.resolution for layer in layers] == [(4, 4), (32, 8), (32, 48)]
    assert [layer.offset for layer in layers] == [0, 6, 11]
    assert [fmt.layer_array_name(i, layer) for i, layer in enumerate(layers)] == [
        "layers/0_a",
        "layers/1_b",
        "layers/2_c",
    ]


def feature_meta(**changes: Any) -> fmt.FeatureMeta:
    meta = fmt.FeatureMeta(
        "dense",
        (32, 32),
        (0, 32),
        fmt.build_layers([("a", (4, 4), 6)], (32, 32)),
        (fmt.ClassInfo(0, "background", "#000000"),),
    )
    return replace(meta, **changes)


def dataset_meta(**changes: Any) -> fmt.DatasetMeta:
    return replace(fmt.DatasetMeta((32, 32), (fmt.ClassInfo(0, "background", "#000000"),), 8), **changes)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"layout": "pyramid"}, "layout"),
        ({"crop_rows": (0, 31)}, "crop_rows"),
        ({"ignore": 255}, "ignore"),
        ({"generator": {"sha256": "ab", "noise": "zero"}}, r"generator\.noise"),
        ({"inputs": {"masks_sha256": "cd"}}, r"inputs\.masks_sha256"),
        ({"classes": (fmt.ClassInfo(0, "sky", "#000000"),)}, "classes"),
    ],
)
def test_check_same_names_the_key_and_both_values(changes: dict[str, Any], key: str) -> None:
    store = feature_meta(generator={"sha256": "ab", "noise": "const"}).to_attribute()
    run = feature_meta(**{"generator": {"sha256": "ab", "noise": "const"}, **changes}).to_attribute()
    with pytest.raises(
        MismatchError, match=f"^a.zarr: was begun with {key} = .*, this run has .*--overwrite"
    ) as caught:
        fmt.check_same(store, run, "a.zarr")
    assert "\n" not in str(caught.value)


def test_check_same_ignores_what_does_not_change_a_byte_of_the_arrays() -> None:
    a = dataset_meta(
        keep="0.9", threshold=0.2, created={"time": "early"}, interpreter={"folder": "a", "sha256": "1"}
    )
    b = dataset_meta(
        keep=None, threshold=None, created={"time": "late"}, interpreter={"folder": "b", "sha256": "1"}
    )
    fmt.check_same(a.to_attribute(), b.to_attribute(), "d.zarr")
    moved = feature_meta(generator={"checkpoint": "old.pt", "sha256": "1"})
    renamed = feature_meta(generator={"checkpoint": "new.pt", "sha256": "1"})
    fmt.check_same(moved.to_attribute(), renamed.to_attribute(), "f.zarr")
    with pytest.raises(MismatchError, match=r"interpreter\.sha256"):
        fmt.check_same(
            a.to_attribute(), replace(b, interpreter={"folder": "b", "sha256": "2"}).to_attribute(), "d.zarr"
        )


@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        ({"version": 4}, "version 4 is newer than 3"),
        ({"version": "1"}, "version is '1', expected an integer"),
        ({"version": 0}, "version is 0"),
        ({}, "version is None.*is it a dgan store"),
        ({"version": 1, "kind": "dataset"}, "kind 'dataset', expected 'features'"),
        ({"version": 1, "kind": "features"}, r"'fstore' is malformed \(it has no 'layout'\)"),
    ],
)
def test_an_attribute_of_another_version_or_kind_or_with_a_key_missing_is_refused(
    attribute: dict[str, Any], says: str
) -> None:
    with pytest.raises(StoreError, match=f"^a.zarr: .*{says}"):
        fmt.FeatureMeta.from_attribute(attribute, "a.zarr")


EXCLUDED = [
    {"layout": "sparse"},
    {"upsample": "bicubic"},
    {"crop_rows": (5, 5)},
    {"crop_rows": (0, 33)},
    {"layers": ()},
]


@pytest.mark.parametrize("changes", [*EXCLUDED, {"classes": ()}])
def test_a_meta_that_the_format_excludes_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(StoreError):
        feature_meta(**changes)


@pytest.mark.parametrize(
    ("num_classes", "ignore", "dtype"),
    [
        (256, None, "uint8"),
        (257, None, "uint16"),
        (2, 255, "uint8"),
        (2, 256, "uint16"),
        (1, 65535, "uint16"),
    ],
)
def test_masks_take_two_bytes_where_a_label_passes_255(
    num_classes: int, ignore: int | None, dtype: str
) -> None:
    classes = tuple(fmt.ClassInfo(i, str(i), "#000000") for i in range(num_classes))
    assert fmt.mask_dtype(dataset_meta(classes=classes, ignore=ignore)) == dtype
    assert fmt.mask_dtype(feature_meta(classes=classes, ignore=ignore)) == dtype


def test_the_specification_names_every_array_and_every_key_of_the_attribute() -> None:
    text = SPECIFICATION.read_text(encoding="utf-8")
    specs = [
        *fmt.feature_arrays(feature_meta(), 1, (8,)),
        *fmt.dataset_arrays(dataset_meta(member_votes=True), 1),
        fmt.committed_array("features", 1),
        fmt.kept_array(1),
    ]
    keys = [*feature_meta().to_attribute(), *dataset_meta(member_votes=True).to_attribute()]
    names = [*(spec.name for spec in specs), *keys, "layers/", "average_latent"]
    assert [name for name in names if f"`{name}" not in text] == []


RELEASED_WIDTHS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
DEMO_WIDTHS = {4: 128, 8: 128, 16: 96, 32: 64, 64: 32}


@pytest.mark.parametrize(
    ("widths", "side", "num_classes"), [(DEMO_WIDTHS, 64, 11), (RELEASED_WIDTHS, 512, 34)]
)
def test_the_numbers_of_the_worked_examples_are_those_of_the_code(
    widths: dict[int, int], side: int, num_classes: int
) -> None:
    native = [(f"b{size}_{kind}", (size, size), c) for size, c in widths.items() for kind in ("out", "conv")]
    classes = tuple(fmt.ClassInfo(i, str(i), "#000000") for i in range(num_classes))
    meta = fmt.FeatureMeta("dense", (side, side), (0, side), fmt.build_layers(native, (side, side)), classes)
    (dense,) = fmt.feature_arrays(meta, 16, (8,))[:1]
    layers = fmt.feature_arrays(replace(meta, layout="pyramid"), 16, (8,))[: len(native)]
    assert dense.shards is not None
    numbers = {
        "dense raw": dense.raw_bytes,
        "dense chunk": prod(dense.chunks) * 2,
        "dense file": prod(dense.shards) * 2,
        "pyramid raw": sum(spec.raw_bytes for spec in layers),
    }
    if side == 512:
        numbers["dense of an image"] = dense.raw_bytes // 16
        numbers["pyramid of an image"] = numbers["pyramid raw"] // 16
        numbers["largest chunk"] = max(prod(spec.chunks) for spec in layers) * 2
        numbers["largest file"] = max(prod(spec.shards or ()) for spec in layers) * 2
    text = SPECIFICATION.read_text(encoding="utf-8")
    assert {name: n for name, n in numbers.items() if f"{n:,} bytes" not in text} == {}
    assert f"{16 * len(fmt.bands(side))} = 16 images x {len(fmt.bands(side))} bands" in text
    assert f"({', '.join(map(str, dense.shape))})" in text


def test_the_demo_of_the_worked_example_is_the_generator_that_is_shipped() -> None:
    from pipeline import embedded
    from pipeline.checkpoints.read import load_generator

    layers = load_generator(embedded.checkpoint_path()).generator.layers
    assert {layer.resolution[0]: layer.channels for layer in layers} == DEMO_WIDTHS
    assert len(embedded.class_names()) == 11
