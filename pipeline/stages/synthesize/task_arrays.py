"""The arrays of a dataset's task as they fill up, image after image: held whole, or a file of them at a time.

Heat maps are the second: 64 images of 512 x 512 with 68 keypoints are 2.3 GB, four are 143 MB. It knows
arrays and their files, not what makes images, nor how they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fstore import format as fmt


class TaskArrays:
    """A class because it holds what has come of a task. Arrays whose files hold fewer images than a task are
    given away file by file: ``write_part`` is called with name, first image in the dataset, and values.
    """

    def __init__(
        self,
        specs: Sequence[fmt.ArraySpec],
        images: range,
        write_part: Callable[[str, int, np.ndarray], object],
    ) -> None:
        """``specs``: of the dataset; ``images``: the task's, of consecutive indices."""
        self._specs = {spec.name: spec for spec in specs}
        self._images, self._write_part = images, write_part
        self._place = 0
        self._filling: dict[str, np.ndarray] = {}

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The next m images of every array: (m, ...) each. Values are copied."""
        for name, values in arrays.items():
            self._add(name, values)
        self._place += len(next(iter(arrays.values())))

    def _add(self, name: str, values: np.ndarray) -> None:
        spec, side = self._specs[name], images_of_a_file(self._specs[name])
        taken = 0
        while taken < len(values):
            place = self._place + taken
            first = place // side * side  # of the file, in the task
            if place == first:
                count = min(side, len(self._images) - first)
                self._filling[name] = np.empty((count, *spec.shape[1:]), spec.dtype)
            part = self._filling[name][place - first :]
            part = part[: len(values) - taken]
            part[:] = values[taken : taken + len(part)]
            taken += len(part)
            filled = place + len(part) - first == len(self._filling[name])
            if filled and side < fmt.TASK_IMAGES:
                self._write_part(name, self._images.start + first, self._filling.pop(name))

    def whole(self) -> dict[str, np.ndarray]:
        """What was not given away, once the last image has come; it is held no longer."""
        arrays, self._filling = self._filling, {}
        return arrays


def images_of_a_file(spec: fmt.ArraySpec) -> int:
    """Of a dataset's array: 64, a task, or fewer."""
    return (spec.shards or spec.chunks)[0]
