"""What a segmenter is apart from its weights: its network, what it has learnt, and from what.

Pure values, to and from JSON. It reads and writes no file, and knows no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fstore.meta import ClassInfo, KeypointInfo
from pipeline.resumable.document import from_document, to_document
from pipeline.settings.json_values import color, integer, items, mapping, number, optional, record, text

KIND = "segmenter"


@dataclass(frozen=True)
class SegmenterInfo:
    """Everything but the weights.

    architecture, backbone, output_stride: the network, as the settings name it; the stride is None where the
    architecture has none to choose. image_size: (height, width) that images have when they come to the
    network. classes: outputs in their order; of keypoints the network has a heat map for each of
    ``keypoints`` in their place. ignore: the label that no class has, in the data. data: what it learns from,
    which is compared when a run goes on. training: the settings that must be equal then. created: program
    and time.
    """

    architecture: str
    backbone: str
    output_stride: int | None
    image_size: tuple[int, int]
    classes: tuple[ClassInfo, ...]
    ignore: int | None
    keypoints: KeypointInfo | None
    data: Mapping[str, Any]
    training: Mapping[str, Any]
    created: Mapping[str, Any]

    @property
    def num_outputs(self) -> int:
        """Channels of the network's output: a logit a class, or a heat map a keypoint."""
        return len(self.classes) if self.keypoints is None else len(self.keypoints.names)

    @property
    def epochs(self) -> int:
        """How many epochs the training has when it is finished."""
        return int(self.training["epochs"])

    def to_json(self) -> dict[str, Any]:
        """JSON values, tuples as lists."""
        return to_document(KIND, self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SegmenterInfo:
        """The inverse of ``to_json``. Raises ValueError, which names the key, for a malformed document."""
        info: SegmenterInfo = from_document(document, KIND, _INFO)
        if [entry.id for entry in info.classes] != list(range(len(info.classes))):
            raise ValueError("classes: their ids are not 0, 1, ...")
        if not info.num_outputs:
            raise ValueError("it has neither classes nor keypoints")
        return info


_CLASS = record(ClassInfo, {"id": integer(0), "name": text, "color": color})
_KEYPOINTS = record(KeypointInfo, {"names": items(text), "sigma": number})
_INFO = record(
    SegmenterInfo,
    {
        "architecture": text,
        "backbone": text,
        "output_stride": optional(integer(1, 64)),
        "image_size": items(integer(1, 2**16), 2),
        "classes": items(_CLASS),
        "ignore": optional(integer(0)),
        "keypoints": optional(_KEYPOINTS),
        "data": mapping(),
        "training": mapping({"epochs": integer(1)}),
        "created": mapping(),
    },
)
