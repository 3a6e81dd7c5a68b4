"""The factored order against the plain one: resize and concatenate in float32, then the classifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from support.feature_maps import ensemble, layers_of, of_rank, plain_logits, random_maps
from support.variants import variants

import pipeline.labelling.labeller as labeller_module
from fstore.format import LayerInfo
from pipeline.labelling.labeller import ImageLabeller
from pipeline.labelling.votes import Tally, js_divergence, vote
from pipeline.models.folded import FoldedEnsemble

SIDES = {
    "a generator's": [(4, 4), (4, 4), (8, 8), (8, 8), (16, 16), (32, 32), (64, 64)],
    "finer than the grid": [(8, 8), (16, 16), (128, 128)],
    "with gaps between the ratios": [(2, 2), (16, 16)],
    "no ratio of 4": [(8, 8), (64, 64)],
    "coarse only": [(4, 4), (8, 8)],
    "fine only": [(32, 32), (64, 64)],
    "a single cell": [(1, 1)],
    "no power of two": [(12, 12), (20, 20), (16, 16)],
    "no square": [(8, 16), (16, 16)],
}


@pytest.mark.parametrize("rank", [None, 2], ids=["all-axes", "two-axes"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("crop", variants((0, 64), (3, 61), (16, 48), (5, 6), fast=2))
@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
def test_the_factored_order_gives_what_the_plain_one_gives(
    sides: list[tuple[int, int]],
    crop: tuple[int, int],
    mode: str,
    rank: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid, maps = (64, 64), random_maps(sides)
    layers = layers_of(maps, grid)
    model = ensemble(sum(m.shape[0] for m in maps))
    if rank is not None:
        of_rank(model, layers, rank)
    expected = plain_logits(model, maps, grid, crop, mode)
    largest = expected.abs().max()
    recorded: list[torch.Tensor] = []
    add = Tally.add
    monkeypatch.setattr(Tally, "add", lambda self, x: (recorded.append(x.clone()), add(self, x))[1])

    labeller = ImageLabeller(
        FoldedEnsemble(model, torch.float32), layers, grid, crop, tile_rows=24, upsample=mode
    )
    labels, divergence = labeller.label(maps)

    assert bool(labeller.ensemble.axes) == (rank is not None and max(sides) > (1, 1))
    assert all(axes.shape[1] == rank for axes in labeller.ensemble.axes.values())
    assert labels.shape == divergence.shape == (crop[1] - crop[0], 64)
    assert labels.dtype == torch.uint8
    found = torch.cat([torch.stack(recorded[i : i + 3]) for i in range(0, len(recorded), 3)], dim=1)
    first = crop[0] // 8 * 8 * 64
    found = found[:, crop[0] * 64 - first : crop[1] * 64 - first]
    assert (found - expected).abs().max() <= 1e-4 * largest
    assert (labels.flatten() == vote(expected)).double().mean() >= 0.9999
    assert (divergence.flatten() - js_divergence(expected.softmax(2))).abs().max() <= 1e-4


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("grid", [(60, 60), (100, 100), (48, 96), (30, 30)])
def test_any_grid(grid: tuple[int, int], mode: str) -> None:
    maps = random_maps([(4, 4), (8, 8), (16, 16), (24, 48), (32, 32)])
    model = ensemble(sum(m.shape[0] for m in maps))
    reduced = [
        F.interpolate(m[None], size=[min(a, b) for a, b in zip(m.shape[1:], grid, strict=True)], mode=mode)[0]
        for m in maps
    ]
    expected = plain_logits(model, reduced, grid, (0, grid[0]), mode)
    labels, divergence = ImageLabeller(
        FoldedEnsemble(model, torch.float32), layers_of(maps, grid), grid, (0, grid[0]), upsample=mode
    ).label(maps)
    assert (labels.flatten() == vote(expected)).double().mean() >= 0.9999
    assert (divergence.flatten() - js_divergence(expected.softmax(2))).abs().max() <= 1e-4


@pytest.fixture
def case() -> tuple[FoldedEnsemble, tuple[LayerInfo, ...], list[torch.Tensor]]:
    maps = random_maps(SIDES["a generator's"])
    model = ensemble(sum(m.shape[0] for m in maps))
    return FoldedEnsemble(model, torch.float32), layers_of(maps, (64, 64)), maps


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("tile_rows", [8, 16, 64, 128])
def test_tiles_and_threads_do_not_show(case, tile_rows: int, num_threads: int) -> None:
    folded, layers, maps = case
    expected = ImageLabeller(folded, layers, (64, 64), (0, 64), tile_rows=64).label(maps)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        found = ImageLabeller(folded, layers, (64, 64), (0, 64), tile_rows=tile_rows).label(maps)
        assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)
    assert (found[0] == expected[0]).double().mean() >= 0.999
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-5)


def test_out_of_device_memory_halves_the_tile_and_goes_on(case, monkeypatch: pytest.MonkeyPatch) -> None:
    folded, layers, maps = case
    expected = ImageLabeller(folded, layers, (64, 64), (0, 64), tile_rows=16).label(maps)
    tried: list[int] = []

    class Scarce(labeller_module.Tile):
        def __init__(self, cut, read, first: int, last: int) -> None:
            tried.append(last - first)
            if last - first > 16:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            super().__init__(cut, read, first, last)

    monkeypatch.setattr(labeller_module, "Tile", Scarce)
    labeller = ImageLabeller(folded, layers, (64, 64), (0, 64), tile_rows=64)
    labels, divergence = labeller.label(maps)
    assert tried[:3] == [64, 32, 16]
    assert labeller.tile_rows == 16  # and the next image begins there
    assert torch.equal(labels, expected[0]) and torch.equal(divergence, expected[1])


def test_no_memory_for_the_smallest_tile_is_the_error_itself(case, monkeypatch: pytest.MonkeyPatch) -> None:
    folded, layers, maps = case

    def refuse(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(labeller_module, "Tile", refuse)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        ImageLabeller(folded, layers, (64, 64), (0, 64), tile_rows=64).label(maps)


def test_an_error_in_a_thread_is_raised(case, monkeypatch: pytest.MonkeyPatch) -> None:
    folded, layers, maps = case
    monkeypatch.setattr(Tally, "add", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ImageLabeller(folded, layers, (64, 64), (0, 64)).label(maps)


def test_bfloat16_products_move_logits_by_its_rounding_and_no_more(case) -> None:
    _, layers, maps = case
    model = ensemble(layers[-1].offset + layers[-1].channels)
    exact = ImageLabeller(FoldedEnsemble(model, torch.float32), layers, (64, 64), (0, 64)).label(maps)
    rough = ImageLabeller(FoldedEnsemble(model, torch.bfloat16), layers, (64, 64), (0, 64)).label(maps)
    assert (rough[0] == exact[0]).double().mean() > 0.97  # weights at random: labels hang on a hair
    assert (rough[1] - exact[1]).abs().mean() < 0.02


def test_an_ensemble_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluation mode"):
        FoldedEnsemble(ensemble(5).train(), torch.float32)


def test_more_than_256_classes() -> None:
    maps = random_maps([(8, 8)])
    model = ensemble(maps[0].shape[0], num_classes=300)
    labels, _ = ImageLabeller(
        FoldedEnsemble(model, torch.float32), layers_of(maps, (32, 32)), (32, 32), (0, 32)
    ).label(maps)
    expected = vote(plain_logits(model, maps, (32, 32), (0, 32)))
    assert labels.dtype == torch.int64
    assert (labels.flatten() == expected).double().mean() >= 0.9999


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layer", [0, -1])
def test_one_value_that_is_not_finite_makes_the_whole_image_uncertain(
    case, value: float, dtype: torch.dtype, layer: int
) -> None:
    _, layers, maps = case
    maps[layer][0, 1, 1] = value
    model = ensemble(layers[-1].offset + layers[-1].channels)
    _, divergence = ImageLabeller(FoldedEnsemble(model, dtype), layers, (64, 64), (0, 64)).label(maps)
    assert divergence.isnan().all()


def test_an_ensemble_that_is_not_finite_is_refused() -> None:
    model = ensemble(5)
    with torch.no_grad():
        model.weight2[1, 2, 3] = float("nan")
    with pytest.raises(ValueError, match="weight2 is not finite"):
        FoldedEnsemble(model, torch.float32)


@pytest.mark.parametrize("dtype", variants(torch.float32, torch.bfloat16))
@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
def test_nothing_waits_for_the_device_and_all_tensors_are_on_it(
    sides: list[tuple[int, int]], dtype: torch.dtype
) -> None:
    """On the meta device a tensor's value cannot be asked for, and none of another device can take part."""
    maps = random_maps(sides)
    layers = layers_of(maps, (64, 64))
    folded = FoldedEnsemble(ensemble(sum(m.shape[0] for m in maps)), dtype)
    for name, value in vars(folded).items():
        if isinstance(value, torch.Tensor):
            setattr(folded, name, value.to("meta"))
    folded._second = tuple(value.to("meta") for value in folded._second)
    folded._third = tuple(value.to("meta") for value in folded._third)
    labeller = ImageLabeller(folded, layers, (64, 64), (3, 61), tile_rows=24)
    labels, divergence, votes = labeller.label_and_count([values.to("meta") for values in maps])
    assert labels.device.type == divergence.device.type == votes.device.type == "meta"
    assert labels.shape == divergence.shape == (58, 64)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("crop", [(0, 64), (5, 6), (3, 61)])
@pytest.mark.parametrize("tile_rows", [8, 24])
def test_votes_are_counted_in_the_rows_that_are_kept(
    case,
    set_threads,
    crop: tuple[int, int],
    tile_rows: int,
    num_threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against a count of every pixel and member, whose logits are taken from the labeller's own tallies."""
    folded, layers, maps = case
    said: list[torch.Tensor] = []
    add = Tally.add
    monkeypatch.setattr(Tally, "add", lambda self, x: (said.append(x.argmax(1)), add(self, x))[1])
    labeller = ImageLabeller(folded, layers, (64, 64), crop, tile_rows=tile_rows)
    set_threads(1)  # so that the bands come in their order
    labels, divergence, votes = labeller.label_and_count(maps)
    members, first = folded.num_members, crop[0] // 8 * 8
    bands = [torch.stack(said[i : i + members]) for i in range(0, len(said), members)]
    kept = torch.cat(bands, 1)[:, (crop[0] - first) * 64 : (crop[1] - first) * 64]  # [E, H * W]
    cells = (labels.flatten().long() * folded.num_classes + kept).flatten()
    expected = torch.bincount(cells, minlength=folded.num_classes**2).view_as(votes)
    assert torch.equal(votes, expected)

    set_threads(num_threads)
    again = labeller.label_and_count(maps)
    for found, wanted in zip(again, (labels, divergence, votes), strict=True):
        assert torch.equal(found, wanted)
    plain = labeller.label(maps)
    assert torch.equal(plain[0], labels) and torch.equal(plain[1], divergence)


def test_votes_of_a_tile_that_did_not_fit_are_not_counted_twice(
    case, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded, layers, maps = case

    class Scarce(labeller_module.Tile):
        def __init__(self, cut, read, first: int, last: int) -> None:
            if last - first > 8 and first == 32:  # after the first tile was counted
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            super().__init__(cut, read, first, last)

    monkeypatch.setattr(labeller_module, "Tile", Scarce)
    _, _, votes = ImageLabeller(folded, layers, (64, 64), (0, 64), tile_rows=32).label_and_count(maps)
    assert votes.sum() == folded.num_members * 64 * 64
