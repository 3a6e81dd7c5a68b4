"""The pictures of one image, made when they are asked for: as small as asked, or at full size without loss.

It knows which array of a store each kind of picture shows. How it is encoded is the report's.
"""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import Image

import fstore
from pipeline.reports.pictures import Encoded, encode_divergence, encode_label_map, encode_picture
from pipeline.viewer.class_areas import label_array
from pipeline.viewer.content import Content

KINDS = ("image", "label", "divergence")


class Pictures:
    """Makes pictures of an open store. A class, because it finds the scale of the divergence once."""

    kinds = KINDS

    def __init__(self, content: Content, largest: float) -> None:
        self._content = content
        self._largest = largest

    def encode(self, key: str, kind: str, image: int, side: int | None) -> Encoded:
        """A picture whose longer side has at most ``side`` pixels; None: as it is stored.

        Raises ReplacedError, NoImageError, StoreError.
        """
        name = {"image": "images", "label": label_array(snapshot), "divergence": "divergence"}[kind]
        values = self._content.read(key, name, image)
        if kind == "label":
            return encode_label_map(values, side)
        if kind == "divergence":
            return encode_divergence(values, self._largest, side)
        return _whole(values) if side is None else encode_picture(values, side)


def _whole(image: np.ndarray) -> Encoded:
    """An (H, W, 3) uint8 image as PNG."""
    buffer = io.BytesIO()
    # Looking for more than runs takes three times as long and gives hardly smaller files.
    Image.fromarray(image).save(buffer, format="PNG", compress_type=zlib.Z_RLE)
    return Encoded(buffer.getvalue(), "image/png")
