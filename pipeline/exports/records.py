"""What an index says of one image, whatever the format, as JSON values."""

from __future__ import annotations

import math
from typing import Any

from pipeline.exports.content import Item


def base_record(item: Item) -> dict[str, Any]:
    """``number``; ``uncertainty`` and ``kept`` where the store has them; ``keypoints`` [[x, y, confidence]].

    A value that is not finite becomes None: JSON has no word for it.
    """
    record: dict[str, Any] = {"number": item.number}
    if item.uncertainty is not None:
        record["uncertainty"] = finite(item.uncertainty)
    if item.kept is not None:
        record["kept"] = item.kept
    if item.keypoints is not None:
        record["keypoints"] = [[finite(value) for value in point] for point in item.keypoints.tolist()]
    return record


def finite(value: float) -> float | None:
    """The value, or None where it is NaN or infinite."""
    return value if math.isfinite(value) else None
