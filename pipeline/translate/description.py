"""What a translator is apart from its weights: its networks, what they have learnt, and from what.

Pure values, to and from JSON. It reads and writes no file, and knows no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.resumable.document import from_document, to_document
from pipeline.settings.json_values import flag, integer, mapping, one_of, record, text
from pipeline.settings.schema import TRANSLATOR_UPSAMPLING

KIND = "translator"
WIDEST = 4096  # channels of a first layer
LARGEST_SIDE = 2**14


@dataclass(frozen=True)
class TranslatorInfo:
    """Everything but the weights.

    resolution: side of the square that it learns on. width, halvings, upsample: the generators, as
    `pipeline.models.unet` has them. source, target: the two sides; each has a ``name``. paired: whether their
    images are pairs. training: the other settings. What is not ``created`` must be equal where a run goes on,
    but for ``training.epochs``. created: program and time.
    """

    resolution: int
    width: int
    halvings: int
    upsample: str
    source: Mapping[str, Any]
    target: Mapping[str, Any]
    paired: bool
    training: Mapping[str, Any]
    created: Mapping[str, Any]

    @property
    def epochs(self) -> int:
        """How many epochs the training has when it is finished."""
        return int(self.training["epochs"])

    def to_json(self) -> dict[str, Any]:
        """JSON values, tuples as lists."""
        return to_document(KIND, self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TranslatorInfo:
        """The inverse of ``to_json``. Raises ValueError, which names the key, for a malformed document."""
        info: TranslatorInfo = from_document(document, KIND, _INFO)
        for key, side in (("source", info.source), ("target", info.target)):
            if "name" not in side:
                raise ValueError(f"{key}.name is missing")
        if "epochs" not in info.training:
            raise ValueError("training.epochs is missing")
        return info


_INFO = record(
    TranslatorInfo,
    {
        "resolution": integer(1, LARGEST_SIDE),
        "width": integer(1, WIDEST),
        "halvings": integer(0, 16),
        "upsample": one_of(*TRANSLATOR_UPSAMPLING),
        "source": mapping({"name": text}),
        "target": mapping({"name": text}),
        "paired": flag,
        "training": mapping({"epochs": integer(1)}),
        "created": mapping(),
    },
)
