"""The pictures of one image, made when they are asked for: as small as asked, or at full size without loss.

It knows which array of a store each kind of picture shows. How it is encoded is the report's.
"""

from __future__ import annotations

import io
import zlib
from threading import Lock

import numpy as np
from PIL import Image

import fstore
from fstore.errors import StoreError
from pipeline.reports.gallery import NUM_DIGITS
from pipeline.reports.pictures import Encoded, encode_divergence, encode_label_map, encode_picture
from pipeline.viewer.content import Content, NoImageError, ReplacedError, Snapshot, image_shape, label_array

KINDS = ("image", "label", "divergence")
SCALE_IMAGES = 16  # in which the largest divergence is looked for: those of the largest uncertainty


class Pictures:
    """Makes pictures of an open store. A class, because it keeps the scale of the divergence."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._lock = Lock()
        self._scales: dict[str, float] = {}  # by the snapshot's key: a browser keeps pictures of one scale

    def kinds(self, snapshot: Snapshot) -> tuple[str, ...]:
        """The kinds of pictures that the store has."""
        labels = () if snapshot.store.meta.keypoints is not None else ("label",)
        return ("image", *labels, *(("divergence",) if snapshot.is_dataset else ()))

    def encode(self, snapshot: Snapshot, kind: str, image: int, side: int | None) -> Encoded:
        """A picture whose longer side has at most ``side`` pixels; None: as it is stored.

        Raises ReplacedError, NoImageError, StoreError.
        """
        name = {"image": "images", "label": label_array(snapshot.store), "divergence": kind}[kind]
        values = self._content.read(snapshot.key, name, image)
        if kind == "label":
            return encode_label_map(values, side)
        if kind == "divergence":
            return encode_divergence(values, self.largest_divergence(snapshot) or 1.0, side)
        return _whole(values) if side is None else encode_picture(values, side)

    def points(self, snapshot: Snapshot, image: int) -> list[list[float] | None]:
        """x and y of each keypoint as shares of width and height; None where it has none that is finite, or
        was not annotated. Raises as `encode` does.
        """
        rows, columns = image_shape(snapshot.store)
        points = self._content.read(snapshot.key, "keypoints", image)  # [K, 3]
        shown = np.isfinite(points).all(1) & (snapshot.is_dataset | (points[:, 2] > 0))
        shares = (points[:, :2] / (columns, rows)).round(NUM_DIGITS)
        return [share.tolist() if is_shown else None for share, is_shown in zip(shares, shown, strict=True)]

    def largest_divergence(self, snapshot: Snapshot) -> float | None:
        """What 255 stands for in pictures of divergence; None in a store that has no divergence."""
        if not isinstance(snapshot.store, fstore.Dataset) or snapshot.uncertainty is None:
            return None
        with self._lock:
            if snapshot.key not in self._scales:
                self._scales[snapshot.key] = self._scale(snapshot, snapshot.uncertainty)
            return self._scales[snapshot.key]

    def _scale(self, snapshot: Snapshot, uncertainty: np.ndarray) -> float:
        places = np.argsort(np.where(np.isfinite(uncertainty), -uncertainty, np.inf), kind="stable")
        largest = 0.0
        for image in snapshot.store.image_ids[places[:SCALE_IMAGES]].tolist():
            try:
                values = self._content.read(snapshot.key, "divergence", image).astype(np.float32)
            except (StoreError, ReplacedError, NoImageError):  # its card says so
                continue
            largest = max(largest, float(np.max(values, where=np.isfinite(values), initial=0)))
        return largest or 1.0


def _whole(image: np.ndarray) -> Encoded:
    """An (H, W, 3) uint8 image as PNG."""
    buffer = io.BytesIO()
    # Looking for more than runs takes three times as long and gives hardly smaller files.
    Image.fromarray(image).save(buffer, format="PNG", compress_type=zlib.Z_RLE)
    return Encoded(buffer.getvalue(), "image/png")
