"""Layers by name, number and slice; and a generator of which only those are looked at."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import LATENT_SIZE, write_checkpoint

from pipeline.checkpoints.read import load_generator
from pipeline.errors import UsageError
from pipeline.models.selection import computed_layers, select_layers
from pipeline.rendering.layer_selection import resolve_layers, with_layers
from pipeline.stages import costs

NAMES = ["b4.const", "b4.conv1", "b8_out", "b8_conv", "b16_out", "b16_conv"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b8_out", [2]),
        ("b16_conv,b4.const", [0, 5]),  # the order is always the generator's
        ("3,3,b8_conv, -3", [3]),  # the same layer four times
        ("4:-2", []),
        ("2:-2", [2, 3]),
        (":2,-1", [0, 1, 5]),
        ("::2", [0, 2, 4]),
        ("-1::-2", [1, 3, 5]),
        ("1:100", [1, 2, 3, 4, 5]),  # a slice's ends may lie beyond the list, as in Python
        (":", [0, 1, 2, 3, 4, 5]),
        (" b4.conv1 , 4 : 5 ", [1, 4]),
    ],
)
def test_a_text_means_layers(text: str, expected: list[int]) -> None:
    if expected:
        assert resolve_layers(text, NAMES, "g.pt") == tuple(NAMES[i] for i in expected)
    else:
        with pytest.raises(UsageError, match=f"slice '{text}' selects no layer"):
            resolve_layers(text, NAMES, "g.pt")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("b8_oot", "no layer is named 'b8_oot', the nearest name is 'b8_out'"),
        ("2:-2,b8", "no layer is named 'b8'"),
        ("6", "layer 6 is not there"),
        ("-7", "layer -7 is not there"),
        ("2,", "no layer is named ''"),
        ("1:2:0", "the slice '1:2:0' has a step of 0"),
        ("1.5", "no layer is named '1.5'"),
        ("1:2:3:4", "no layer is named '1:2:3:4'"),
        ("9" * 5000, "no layer is named '999"),  # not even turned into a number
    ],
)
def test_what_names_no_layer_is_refused_with_their_number(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as error:
        resolve_layers(text, NAMES, "g.pt")
    assert "g.pt has 6 layers, b4.const to b16_conv" in str(error.value)
    assert "\n" not in str(error.value)


bounds = st.none() | st.integers(-9, 9)


@given(bounds, bounds, bounds.filter(lambda step: step != 0))
def test_a_slice_is_python_s(start: int | None, stop: int | None, step: int | None) -> None:
    text = ":".join("" if bound is None else str(bound) for bound in (start, stop, step))
    chosen = set(NAMES[start:stop:step])
    if chosen:
        assert set(resolve_layers(text, NAMES, "g.pt")) == chosen
    else:
        with pytest.raises(UsageError, match="selects no layer"):
            resolve_layers(text, NAMES, "g.pt")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint.pt")


def test_the_selected_features_are_the_whole_generator_s(checkpoint: Path) -> None:
    loaded = load_generator(checkpoint)
    part = with_layers(loaded, "2:-2").generator
    names = [layer.name for layer in loaded.generator.layers]
    assert [layer.name for layer in part.layers] == names[2:-2]
    w_plus = torch.randn(2, part.num_w_layers, LATENT_SIZE)
    noise = [torch.zeros(1, 1, *shape) for shape in part.noise_shapes]
    with torch.inference_mode():
        expected, found = (g.synthesis(w_plus, noise) for g in (loaded.generator, part.to("cpu")))
    assert torch.equal(found.images, expected.images)
    assert len(found.features) == len(names) - 4
    assert all(torch.equal(a, b) for a, b in zip(found.features, expected.features[2:-2], strict=True))
    assert part.resolution == loaded.generator.resolution and part.latent_size == LATENT_SIZE


def test_no_selection_and_a_selection_of_all_are_the_generator_itself(checkpoint: Path) -> None:
    loaded = load_generator(checkpoint)
    assert with_layers(loaded, None) is loaded
    assert with_layers(loaded, ":").generator is loaded.generator


def test_rendering_takes_the_memory_of_the_layers_that_are_computed(checkpoint: Path) -> None:
    whole = load_generator(checkpoint).generator
    part = select_layers(whole, [whole.layers[0].name])
    assert costs.render_bytes(part, 2) == costs.render_bytes(whole, 2)
    assert costs.weight_bytes(part) == costs.weight_bytes(whole)
    assert computed_layers(part) == whole.layers and len(part.layers) == 1


def test_a_name_that_there_is_not_is_refused_and_an_attribute_too(checkpoint: Path) -> None:
    whole = load_generator(checkpoint).generator
    with pytest.raises(ValueError, match="no layer is named 'b5_out'"):
        select_layers(whole, ["b5_out"])
    part = select_layers(whole, [whole.layers[1].name])
    assert not hasattr(part, "nothing_of_the_kind")
    assert copy.copy(part).layers == part.layers
