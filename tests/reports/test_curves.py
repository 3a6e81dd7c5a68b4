"""Training curves: where points lie is arithmetic, and the learning rates are those that training used."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.interpreters import INFO

from pipeline.interpreter.description import EpochMetrics, InterpreterInfo
from pipeline.quality.axis_ticks import MOST_TICKS, linear_ticks, log_ticks, tick_step
from pipeline.reports.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Curve, line_chart
from pipeline.reports.training_section import learning_rates, loss_curves, training_section
from pipeline.settings.schema import TrainConfig
from pipeline.stages.train.schedule import epoch_rates

PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


def drawn(*curves: Curve, **options: object) -> ET.Element:
    return ET.fromstring(str(line_chart("a <title>", curves, **options)))  # type: ignore[arg-type]


def points(svg: ET.Element, kind: str) -> list[tuple[float, float]]:
    return [
        (float(dot.attrib["cx"]), float(dot.attrib["cy"]))
        for dot in svg.iter("circle")
        if dot.attrib["class"] == kind
    ]


def test_points_lie_where_epoch_and_value_put_them() -> None:
    svg = drawn(Curve("loss", (1.0, 0.5, 0.0)), Curve("<b>", (0.25, None, math.nan), "member"))
    xs = [LEFT + PLOT_WIDTH * share for share in (1 / 6, 3 / 6, 5 / 6)]
    ys = [TOP, TOP + PLOT_HEIGHT / 2, TOP + PLOT_HEIGHT]
    assert points(svg, "main") == [pytest.approx(p, abs=0.06) for p in zip(xs, ys, strict=True)]
    assert points(svg, "member") == [pytest.approx((xs[0], TOP + 0.75 * PLOT_HEIGHT), abs=0.06)]
    lines = [line.attrib["points"].split() for line in svg.iter("polyline")]
    assert [len(line) for line in lines] == [3]  # one point makes no line
    assert "<b>, epoch 1: 0.25" in [title.text for title in svg.iter("title")]
    assert svg.attrib["aria-label"] == "a <title>"


def test_gaps_break_the_line() -> None:
    svg = drawn(Curve("m", (1, 2, None, 3, 4)))
    assert [len(line.attrib["points"].split()) for line in svg.iter("polyline")] == [2, 2]


def test_the_best_epoch_and_the_final_ones_are_marked() -> None:
    svg = drawn(Curve("m", (1, 2, 3, 4)), best=1, final_from=3)
    line = next(line for line in svg.iter("line") if line.attrib["class"] == "best")
    assert float(line.attrib["x1"]) == pytest.approx(LEFT + PLOT_WIDTH * 1.5 / 4, abs=0.06)
    (ground,) = svg.iter("rect")
    assert float(ground.attrib["x"]) == pytest.approx(LEFT + PLOT_WIDTH * 3 / 4, abs=0.06)


def test_a_decade_on_a_logarithmic_axis_has_one_height() -> None:
    heights = [y for _, y in points(drawn(Curve("loss", (10.0, 1.0, 0.1)), is_log=True), "main")]
    assert heights == pytest.approx([TOP, TOP + PLOT_HEIGHT / 2, TOP + PLOT_HEIGHT], abs=0.06)
    assert points(drawn(Curve("loss", (1.0, 0.0)), is_log=True), "main")  # 0 has no logarithm: a plain axis


def test_nothing_to_draw_is_an_empty_plot() -> None:
    assert points(drawn(), "main") == [] and points(drawn(Curve("m", (None,))), "main") == []


FINITE = st.floats(-1e6, 1e6).map(lambda v: round(v, 4))


@given(st.lists(FINITE, min_size=1, max_size=5))
def test_ticks_hold_all_values_and_are_few(values: list[float]) -> None:
    ticks = linear_ticks(values)
    slack = 1e-9 * max(1, *map(abs, ticks))
    assert ticks[0] - slack <= min(values) and max(values) <= ticks[-1] + slack
    assert 2 <= len(ticks) <= MOST_TICKS + 3 and ticks == sorted(set(ticks))


@given(st.floats(1e-6, 1e6), st.floats(1, 1e5))
def test_logarithmic_ticks_hold_both_ends(low: float, times: float) -> None:
    ticks = log_ticks(low, low * times)
    assert ticks[0] <= low * (1 + 1e-9) and ticks[-1] >= low * times * (1 - 1e-9)
    assert 2 <= len(ticks) <= MOST_TICKS + 3


@pytest.mark.parametrize(("span", "step"), [(6, 1), (6.1, 2), (12.1, 5), (31, 10), (0.05, 0.01)])
def test_a_step_is_the_least_round_one(span: float, step: float) -> None:
    assert tick_step(span) == pytest.approx(step)


def trained(config: TrainConfig, lengths: list[int], num_final: int) -> InterpreterInfo:
    """Epochs of ``lengths`` steps, the last ``num_final`` of them final; settings as they are recorded."""
    recorded = {"learning_rate": config.learning_rate, "falling": config.falling, "steps": config.steps}
    steps, epochs = 0, []
    for place, length in enumerate(lengths):
        steps += length
        final = place >= len(lengths) - num_final
        epochs.append(EpochMetrics(place, steps, 1.0, None if final else 1 - place / 10, final=final))
    training = {**recorded, "final_epochs": num_final, "max_epochs": config.max_epochs}
    return replace(INFO, training=training, epochs=tuple(epochs), best_epoch=0)


@pytest.mark.parametrize(
    ("config", "lengths", "num_final"),
    [
        (TrainConfig(steps=50, falling=0.5), [20, 20, 10], 0),
        (TrainConfig(steps=None, max_epochs=3), [20, 20, 20, 25, 25], 2),
        (TrainConfig(steps=None, max_epochs=2), [20, 20], 0),
    ],
)
def test_the_learning_rates_are_those_of_the_schedule(
    config: TrainConfig, lengths: list[int], num_final: int
) -> None:
    info = trained(config, lengths, num_final)
    expected = [
        config.learning_rate * epoch_rates(info.epochs[:place], config, length, num_final)[-1]
        for place, length in enumerate(lengths)
    ]
    assert learning_rates(info) == pytest.approx(expected)


def test_settings_that_are_not_recorded_give_no_learning_rate() -> None:
    info = replace(trained(TrainConfig(steps=50), [50], 0), training={})
    assert learning_rates(info) == (None,)


def test_members_have_curves_where_their_losses_are_recorded() -> None:
    epochs = (
        EpochMetrics(0, 10, 0.7, 0.5),
        EpochMetrics(1, 20, 0.6, 0.4, member_losses=(0.5, 0.7)),
    )
    curves = loss_curves(epochs)
    assert [curve.values for curve in curves] == [(None, 0.5), (None, 0.7), (0.7, 0.6)]
    assert [curve.values for curve in loss_curves(epochs[:1])] == [(0.7,)]
    values = training_section(replace(INFO, epochs=epochs, best_epoch=0)).values
    assert [chart["title"].split(",")[0] for chart in values["charts"]] == ["Loss", "mIoU on held-out images"]
    assert values["has_members"] and values["best"] == 1
