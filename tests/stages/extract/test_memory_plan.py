"""Extraction within a memory budget: what is planned fits it, more memory never makes it slower."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import make_meta

from pipeline.errors import UsageError
from pipeline.models.stylegan1 import StyleGAN1
from pipeline.settings.values import parse_bytes
from pipeline.stages.extract.memory import ExtractSizes, extract_sizes, host_bytes, plan_memory

amounts = st.integers(1, 10**9)
sizes = st.builds(
    ExtractSizes,
    band=amounts,
    largest_layer=amounts,
    pyramid=amounts,
    held=amounts,
    rendering=amounts,
    renderers=st.integers(1, 3),
)


@given(sizes, st.integers(1, 10**10))
def test_a_plan_fits_its_budget_or_is_refused_with_the_least_that_does(
    found: ExtractSizes, budget: int
) -> None:
    ways = [(buffers, depth) for buffers in (1, 2, 3) for depth in (0, 1)]
    try:
        plan = plan_memory(found, budget)
    except UsageError:
        assert all(host_bytes(found, *way) > budget for way in ways)
        return
    way = (plan.band_buffers, plan.queue_depth, plan.renderers)
    assert plan.host_bytes == host_bytes(found, *way) <= budget


@given(sizes, st.integers(1, 10**10), st.integers(0, 10**10))
def test_a_larger_budget_never_takes_overlap_away(found: ExtractSizes, budget: int, more: int) -> None:
    try:
        less = plan_memory(found, budget)
    except UsageError:
        return
    plan = plan_memory(found, budget + more)
    assert plan.renderers >= less.renderers
    assert (plan.queue_depth, plan.band_buffers) >= (less.queue_depth, less.band_buffers)
    assert plan_memory(found, None).host_bytes >= plan.host_bytes


@given(sizes)
def test_the_least_that_is_named_is_enough(found: ExtractSizes) -> None:
    with pytest.raises(UsageError) as error:
        plan_memory(found, 0)
    named = re.search(r"needs (\w+) at least", str(error.value))
    assert named is not None
    plan_memory(found, parse_bytes(named[1]))


def test_the_number_of_images_counts_by_its_masks_alone() -> None:
    generator = StyleGAN1([8, 8, 4], 6)
    native = tuple((la.name, la.resolution, la.channels) for la in generator.layers)
    meta = make_meta("dense", grid=(16, 16), native=native)
    few, many = (extract_sizes(meta, n, generator, 1, on_gpu=False) for n in (2, 8))
    assert many.held - few.held == 6 * 2 * 16 * 16
    assert few.band == 16 * 16 * 40 * 2
    assert few.pyramid == sum(2 * side * side * width * 2 for side, width in ((4, 8), (8, 8), (16, 4)))
