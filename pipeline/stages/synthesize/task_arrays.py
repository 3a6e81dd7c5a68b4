"""The arrays of a dataset's task, which fill up image after image.

Most are held until the task is whole. Heat maps are held one file at a time: 64 images of 512 x 512 with 68
keypoints take 2.3 GB, the four of a file 143 MB. This module knows arrays and their files; it does not know
what makes images, nor how they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fstore import format as fmt


class TaskArrays:
    """Collects the images of a task. A class because it holds what has been added so far.

    An array whose files hold fewer images than a task is handed on file by file: ``write_part`` is called
    with its name, the index of the file's first image in the dataset, and the values.
    """

    def __init__(
        self,
        specs: Sequence[fmt.ArraySpec],
        images: range,
        write_part: Callable[[str, int, np.ndarray], object],
    ) -> None:
        """``specs``: the arrays of the dataset. ``images``: the indices of the task's images in it."""
        self._specs = {spec.name: spec for spec in specs}
        self._images, self._write_part = images, write_part
        self._place = 0
        self._filling: dict[str, np.ndarray] = {}

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Add the next m images: (m, ...) of every array, which are copied."""
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
        """The arrays that were not handed on, after the last image was added. They are held no longer."""
        arrays, self._filling = self._filling, {}
        return arrays


def images_of_a_file(spec: fmt.ArraySpec) -> int:
    """How many images a file of this array of a dataset holds: 64, which are a task, or fewer."""
    return (spec.shards or spec.chunks)[0]
