"""Writes a feature store image by image. The same call creates the store, or goes on with it.

The arrays of an image are written, forced to disk, and only then marked in ``committed``. Every region is
aligned to shards and has one writer. Bytes depend on the values alone, so that a resumed store equals an
undisturbed one. The writer knows arrays and feature maps. It does not know what renders them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event

import numpy as np
import torch
from torch import Tensor

from fstore import format as fmt
from fstore.allowed_values import as_stored, check_mask, check_values, not_finite, wrong_type
from fstore.bands import Band, BandMaker
from fstore.chunks import CheckedArray
from fstore.compare import OF_ANNOTATIONS
from fstore.correction import finish_correction, revise
from fstore.creation import OpenGroup, check_place, create_group
from fstore.durable import sync_folders
from fstore.errors import StoreError
from fstore.interpolate import to_stored
from fstore.location import Location, get_attribute
from fstore.revision import Annotated, Revision, plan_revision
from fstore.shards import ShardWriter

BAND_BUFFERS = 3  # one being made while two are compressed and written (docs/performance.md)


@dataclass(frozen=True)
class PreparedImage:
    """One image, checked and ready to be written. Made by ``FeatureWriter.prepare``.

    ``maps``: the layers as they are stored, [h, w, c] float16. ``parts``: the other arrays by their names.
    """

    image: int
    maps: list[Tensor]
    parts: dict[str, np.ndarray]


class FeatureWriter:
    """A feature store that is being filled, image by image. ``fstore.create`` makes it.

    It keeps other writers out until ``close`` is called.
    """

    def __init__(
        self,
        location: Location,
        opened: OpenGroup,
        meta: fmt.FeatureMeta,
        num_images: int,
        latent_shape: Sequence[int],
        band_buffers: int,
        shards: type[ShardWriter] = ShardWriter,
    ):
        self.location = location
        self.meta = meta
        self.num_images = num_images
        specs = fmt.feature_arrays(meta, num_images, latent_shape)
        specs_and_marker = [*specs, fmt.committed_array("features", num_images)]
        self._shards = shards(location, opened.group, specs_and_marker)
        self._names = [spec.name for spec in specs]
        self._opened = opened
        self._bands = BandMaker(meta, band_buffers)
        self._num_threads = fmt.num_write_threads(band_buffers)
        self._stopped = Event()

    @property
    def id(self) -> str:
        """The store's own id, by which a process tells that it has joined the same one."""
        return str((get_attribute(self._opened.group) or {})["created"]["id"])

    def close(self) -> None:
        """Let other processes write. The same happens when the process or the object ends."""
        self._opened.close()

    def stop(self) -> None:
        """Make ``write`` in another thread give up soon, with InterruptedError; its image stays pending."""
        self._stopped.set()

    def pending(self) -> list[int]:
        """Images that are not committed yet, ascending."""
        return [int(i) for i in np.flatnonzero(~self._shards.markers())]

    def write_image(
        self,
        image: int,
        maps: list[Tensor],
        picture: np.ndarray,
        mask: np.ndarray,
        latent: np.ndarray,
        keypoints: np.ndarray | None = None,
    ) -> None:
        """Write one image whole, then commit it.

        It calls ``prepare`` and then ``write``: they say what the arguments are and what is raised.
        """
        self.write(self.prepare(image, maps, picture, mask, latent, keypoints))

    def prepare(
        self,
        image: int,
        maps: list[Tensor],
        picture: np.ndarray,
        mask: np.ndarray,
        latent: np.ndarray,
        keypoints: np.ndarray | None = None,
    ) -> PreparedImage:
        """Check an image's parts and round its maps to what is stored, on the device that they are on.

        Args:
            image: its index in the store.
            maps: feature maps, one [c, h, w] float32 a layer, native resolution; the list is emptied to free
                memory early.
            picture: (H, W, 3) uint8, rows after the crop.
            mask: (H, W) integer: class ids and, where there is one, the ignore label.
            latent: (D,) or (L, D) float32.
            keypoints: (K, 3) float32 x, y and whether it is labelled, where the store holds keypoints.

        Raises:
            StoreError: a shape or a value does not fit the store, such as a label that is no class, a picture
                of floats or a latent that is not finite; or the image is committed already.
            OverflowError16: a feature does not fit float16.
        """
        annotations = self._checked_annotations(image, mask, latent, keypoints)
        prepared = self.prepare_rendered(image, maps, picture)
        return PreparedImage(image, prepared.maps, {**prepared.parts, **annotations})

    def prepare_rendered(self, image: int, maps: list[Tensor], picture: np.ndarray) -> PreparedImage:
        """The same for what is rendered alone: ``begin_image`` has written the rest. See ``fstore.join``."""
        self._check_rendered(image, maps, picture)
        picture = self._checked(image, "images", picture)
        stored = [
            to_stored(maps.pop(0), layer, self.meta.grid, self.meta.upsample) for layer in self.meta.layers
        ]
        if stored[0].device.type == "cuda":
            torch.cuda.current_stream(stored[0].device).synchronize()  # other streams will read the maps
        return PreparedImage(image, stored, {"images": picture})

    def begin_image(
        self, image: int, mask: np.ndarray, latent: np.ndarray, keypoints: np.ndarray | None = None
    ) -> None:
        """Delete what an unfinished attempt has left of an image, and write what is not rendered.

        A writer of ``fstore.join`` in another process writes the rest; then ``commit_image`` is called here.
        The arguments are those of ``prepare``, and so are the errors.
        """
        parts = self._checked_annotations(image, mask, latent, keypoints)
        for name in self._names:
            self._shards.clear(name, image)
        keys = [key for name, part in parts.items() for key in self._write_part(name, image, part)]
        sync_folders(self.location, keys)

    def commit_image(self, image: int) -> None:
        """Mark an image all of whose files are forced to the disk, as after ``write`` of a joined writer."""
        self._shards.commit(image, 1, [])

    def latents(self, images: Sequence[int]) -> np.ndarray:
        """The latents (n, D) or (n, L, D) float32 that are written, also of images that are not committed.

        Raises CorruptionError where one is missing.
        """
        array = CheckedArray(self._shards.arrays["latents"], self.location)
        whole = [(0, side) for side in array.array.shape[1:]]
        return np.concatenate([array.read(((image, image + 1), *whole)) for image in images])

    def write(self, prepared: PreparedImage) -> None:
        """Write a prepared image whole, then commit it. Any thread may call it, one call at a time.

        Raises InterruptedError after ``stop``, and whatever the first failed write raised. The image is
        pending then, and may be written again.
        """
        image = prepared.image
        for name in self._names:
            self._shards.clear(name, image)
        futures: list[Future[list[str]]] = []
        with ThreadPoolExecutor(self._num_threads, thread_name_prefix="fstore-write") as pool:
            for work in self._writes(prepared):
                futures.append(pool.submit(work))
                if self._stopped.is_set() or any(f.done() and f.exception() for f in futures):
                    break
        keys = [key for future in futures for key in future.result()]
        if self._stopped.is_set():
            raise InterruptedError(f"image {image}: stopped before it was whole")
        self._shards.commit(image, 1, keys)

    def _writes(self, prepared: PreparedImage) -> Iterator[Callable[[], list[str]]]:
        """The writes that make up an image, each a shard or more of its own, so that threads may share them.

        The large ones come first: a pool that begins with them ends evenly.
        """
        image = prepared.image
        if self.meta.layout == "dense":
            for band in self._bands.bands(prepared.maps):
                yield partial(self._write_band, image, band)
        else:
            layers = enumerate(zip(self.meta.layers, prepared.maps, strict=True))
            for index, (layer, values) in reversed(list(layers)):
                name = fmt.layer_array_name(index, layer)
                yield partial(self._write_part, name, image, values.cpu().numpy())
        for name, part in prepared.parts.items():
            yield partial(self._write_part, name, image, part)

    def _write_part(self, name: str, image: int, values: np.ndarray) -> list[str]:
        return self._shards.write(name, values[None], (image, *[0] * values.ndim))

    def _write_band(self, image: int, band: Band) -> list[str]:
        try:
            return self._shards.write("features", band.values()[None], (image, band.start, 0, 0))
        finally:
            self._bands.give_back(band)

    def _checked_keypoints(self, image: int, keypoints: np.ndarray | None) -> dict[str, np.ndarray]:
        expected = None if self.meta.keypoints is None else (len(self.meta.keypoints.names), 3)
        found = None if keypoints is None else tuple(keypoints.shape)
        if found != expected:
            raise StoreError(f"image {image}: keypoints have shape {found}, expected {expected}")
        return {} if keypoints is None else {"keypoints": self._checked(image, "keypoints", keypoints)}

    def _checked(self, image: int, name: str, values: np.ndarray) -> np.ndarray:
        """An array's values of an image, in its dtype. Raises StoreError for what the format excludes."""
        spec = self._shards.specs[name]
        check_values(self.meta, spec, values, image)
        return as_stored(spec, values)

    def _check_pending(self, image: int) -> None:
        if not 0 <= image < self.num_images:
            raise StoreError(f"image {image}: expected 0 to {self.num_images - 1}")
        if self._shards.markers(image, image + 1).any():
            raise StoreError(
                f"image {image}: is committed already; create the store with overwrite to begin anew"
            )

    def _checked_annotations(
        self, image: int, mask: np.ndarray, latent: np.ndarray, keypoints: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """The arrays of an image that are not rendered, by their names, as they are stored."""
        self._check_pending(image)
        self._check_shape(image, "latent", latent, self._shards.specs["latents"].shape[1:])
        latent = self._checked(image, "latents", latent)
        check_mask(self.meta, mask, image)
        counts = fmt.class_counts(mask, len(self.meta.classes))
        mask = mask.astype(fmt.mask_dtype(self.meta))
        points = self._checked_keypoints(image, keypoints)
        return {"masks": mask, "latents": latent, "class_counts": counts, **points}

    def _check_shape(self, image: int, name: str, found: np.ndarray, expected: Sequence[int]) -> None:
        if tuple(found.shape) != tuple(expected):
            raise StoreError(
                f"image {image}: {name} has shape {tuple(found.shape)}, expected {tuple(expected)}"
            )

    def _check_rendered(self, image: int, maps: list[Tensor], picture: np.ndarray) -> None:
        self._check_pending(image)
        if len(maps) != len(self.meta.layers):
            raise StoreError(
                f"image {image}: got {len(maps)} feature maps, expected {len(self.meta.layers)}, one a layer"
            )
        for given, layer in zip(maps, self.meta.layers, strict=True):
            reduced = tuple(
                min(side, limit) for side, limit in zip(given.shape[1:], self.meta.grid, strict=True)
            )
            if given.shape[0] != layer.channels or reduced != layer.resolution:
                raise StoreError(
                    f"image {image}, layer {layer.name!r}: feature map is {tuple(given.shape)}, expected "
                    f"({layer.channels}, {layer.resolution[0]}, {layer.resolution[1]})"
                )
        self._check_shape(image, "image", picture, (self.meta.height, self.meta.width, 3))


def open_features(
    path: str | os.PathLike[str],
    meta: fmt.FeatureMeta,
    num_images: int,
    latent_shape: Sequence[int],
    average_latent: np.ndarray | None,
    overwrite: bool,
    band_buffers: int = BAND_BUFFERS,
    annotated: Annotated | None = None,
) -> FeatureWriter:
    """Does what ``fstore.create`` says, with the same arguments."""
    location = Location.parse(path)
    specs = [*fmt.feature_arrays(meta, num_images, latent_shape), fmt.committed_array("features", num_images)]
    small = []
    if average_latent is not None:
        spec = fmt.average_latent_array(average_latent.shape)
        words = wrong_type(spec, average_latent) or not_finite(as_stored(spec, average_latent))
        if words is not None:
            raise StoreError(f"array 'average_latent': {words}")
        small = [(spec, as_stored(spec, average_latent))]
    opened = create_group(location, meta.to_attribute(), specs, overwrite, small, _may_differ(annotated))
    try:
        finish_correction(location, opened.group)
        revision = plan_revision(location, opened.group, meta, num_images, latent_shape, annotated)
        if annotated is not None:
            revise(location, opened.group, meta, specs, revision, annotated)
    except BaseException:
        opened.close()
        raise
    return FeatureWriter(location, opened, meta, num_images, latent_shape, band_buffers)


def check_features(
    path: str | os.PathLike[str],
    meta: fmt.FeatureMeta,
    num_images: int,
    latent_shape: Sequence[int],
    overwrite: bool,
    annotated: Annotated | None = None,
) -> Revision | None:
    """Does what ``fstore.check_create`` says, with the same arguments."""
    location = Location.parse(path)
    group = check_place(location, meta.to_attribute(), overwrite, _may_differ(annotated))
    if group is None:
        return None
    return plan_revision(location, group, meta, num_images, latent_shape, annotated)


def _may_differ(annotated: Annotated | None) -> Sequence[str]:
    """Keys of the attribute that may differ: those that follow from annotations, where these are compared."""
    return () if annotated is None else OF_ANNOTATIONS
