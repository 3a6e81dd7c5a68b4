"""Which other truncation or noise is named, from figures that follow from a closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inputs.pictures.other_settings import OtherSettings, better_settings, variants_of
from pipeline.rendering.renderer import RenderSettings

LIMIT = 30.0
NOW = RenderSettings(0.7, 8, "const", 0, (64, 64), (0, 64))
LOST = 0.0, 5.0  # grey levels that saving took


def search(truth: float, lost: float, noise: dict[str, float], slope: float = 100.0) -> OtherSettings | None:
    """Pictures made at psi ``truth``, of which saving lost ``lost``, and ``noise`` away from each mode."""

    def measure(settings: RenderSettings) -> list[float]:
        psi = slope * (settings.truncation - truth)
        return [float(np.sqrt(psi**2 + lost**2 + noise[settings.noise] ** 2))] * 3

    return better_settings(measure, measure(NOW), NOW, variants_of(NOW, "z", (8,)), LIMIT)


RIGHT = {"const": 0.0, "zero": 10.0}


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("truth", [0.3, 0.5, 0.8, 0.9, 1.0])
def test_a_truth_on_a_step_is_to_be_passed_however_much_saving_lost(truth: float, lost: float) -> None:
    found = search(truth, lost, RIGHT)
    assert found is not None and found.refused and found.near is None
    assert found.flags.startswith(f"--truncation {truth}") and found.advice.endswith("pass that")
    assert found.figure == pytest.approx(lost)


@given(truth=st.floats(0.33, 0.97), lost=st.sampled_from(LOST))
def test_between_steps_the_lowest_point_is_told(truth: float, lost: float) -> None:
    found = search(truth, lost, RIGHT)
    if found is None:
        assert abs(truth - 0.7) <= 0.06
    elif found.near is None:
        assert abs(truth - float(found.flags.split()[1])) <= 0.026
    else:
        assert found.near == pytest.approx(truth, abs=1e-6) and "pass that" not in found.advice


@pytest.mark.parametrize("lost", LOST)
def test_the_right_settings_are_not_remarked_upon(lost: float) -> None:
    assert search(0.7, lost, RIGHT) is None


@pytest.mark.parametrize(
    ("noise", "lost", "refused"),
    [
        ({"const": 4.0, "zero": 0.0}, 0.0, True),  # the other fits exactly
        ({"const": 13.0, "zero": 0.0}, 4.0, True),  # and is saved with loss
        ({"const": 14.1, "zero": 10.0}, 0.0, False),  # random noise: none is nearer than constant noise
        ({"const": 4.0, "zero": 4.2}, 0.0, None),  # fine detail that no mode explains
    ],
)
def test_noise_is_refused_where_the_other_mode_is_the_pictures(noise, lost: float, refused) -> None:
    found = search(0.7, lost, noise)
    assert (None if found is None else found.refused) == refused
    assert found is None or found.flags == "--noise zero"


def test_w_plus_latents_have_no_truncation_to_try() -> None:
    assert [variant.flags for variant in variants_of(NOW, "w+", (8, 18))] == ["--noise zero"]
