"""The section of a page that shows how an interpreter was trained: curves over its epochs.

Both the interpreter's own page and that of a dataset whose interpreter lies beside it have this section.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.interpreter.description import EpochMetrics, InterpreterInfo
from pipeline.reports.curves import Curve, line_chart
from pipeline.reports.page import Section
from pipeline.stages.train.schedule import rate_shares

LOSS = "Loss, on a logarithmic axis"


def training_section(info: InterpreterInfo) -> Section:
    """Loss of the members, quality on held-out images, and learning rate, by epoch."""
    final = next((epoch.epoch for epoch in info.epochs if epoch.final), None)
    charts = [
        {
            "title": title,
            "svg": line_chart(title, curves, best=info.best_epoch, final_from=final, is_log=title == LOSS),
        }
        for title, curves in (
            (LOSS, loss_curves(info.epochs)),
            *quality_curves(info.epochs),
            ("Learning rate, at the end of each epoch", [Curve("learning rate", learning_rates(info))]),
        )
        if any(value is not None for curve in curves for value in curve.values)
    ]
    values = {
        "charts": charts,
        "has_members": any(epoch.member_losses for epoch in info.epochs),
        "num_members": info.members,
        "best": None if info.best_epoch is None else info.best_epoch + 1,
        "final": final,
        "num_epochs": len(info.epochs),
        "held_out": bool(info.training.get("held_out_images")),
    }
    return Section("training", "Training", "training.html.j2", values)


def loss_curves(epochs: Sequence[EpochMetrics]) -> list[Curve]:
    """The loss of each member, where it was recorded, and their mean."""
    num = max((len(epoch.member_losses or ()) for epoch in epochs), default=0)
    members = [
        Curve(f"member {k}", tuple(e.member_losses[k] if e.member_losses else None for e in epochs), "member")
        for k in range(num)
    ]
    return [*members, Curve("mean of the members", tuple(epoch.loss for epoch in epochs))]


def quality_curves(epochs: Sequence[EpochMetrics]) -> list[tuple[str, list[Curve]]]:
    """(title, curves) of what was measured on held-out images: of the whole ensemble, not of a member."""

    def curve(name: str, key: str, kind: str = "main") -> Curve:
        return Curve(name, tuple(getattr(epoch, key) for epoch in epochs), kind)

    return [
        ("mIoU on held-out images", [curve("mIoU", "miou")]),
        ("PCK on held-out images", [curve("PCK@15", "pck15"), curve("PCK@10", "pck10", "second")]),
        ("Heat-map error on held-out images", [curve("heat-map error", "heat_error")]),
    ]


def learning_rates(info: InterpreterInfo) -> tuple[float | None, ...]:
    """The learning rate of each epoch's last step, by the schedule that the recorded settings describe.

    None for all where a setting is missing. See `pipeline.stages.train.schedule.epoch_rates`.
    """
    training: Mapping[str, Any] = info.training
    rate, falling = training.get("learning_rate"), training.get("falling")
    if not isinstance(rate, int | float) or not isinstance(falling, int | float):
        return tuple(None for _ in info.epochs)
    found: list[float | None] = []
    steps, num_final = training.get("steps"), sum(epoch.final for epoch in info.epochs)
    planned = training.get("final_epochs")
    num_planned = planned if isinstance(planned, int) else num_final
    done, final_done = 0, 0
    for epoch in info.epochs:
        num = epoch.steps - done
        if isinstance(steps, int):
            share = rate_shares(steps - done, falling * steps, num)[-1]
        elif epoch.final:
            share = rate_shares((num_planned - final_done) * num, num_planned * num, num)[-1]
            final_done += 1
        else:
            share = 1.0
        found.append(rate * share)
        done = epoch.steps
    return tuple(found)
