"""Labelled images of a store as torch datasets: ``torch_dataset`` by index, ``torch_iterable`` as a stream.

    training = fstore.torch_dataset("dataset.zarr")
    image, label = training[0]          # (3, H, W) uint8, (H, W) int64
    loader = torch.utils.data.DataLoader(training, batch_size=32, shuffle=True, num_workers=4)

Both go to workers that are forked and to those that are spawned. It knows items and tensors; where the
bytes lie is the business of ``fstore.labelled_items``.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, default_collate, get_worker_info

from fstore.dataset import Dataset as LabelledDataset
from fstore.errors import StoreError
from fstore.labelled_items import EncodedItem, LabelledItems, committed_items, kept_items
from fstore.location import Location
from fstore.meta import Meta
from fstore.opening import open_store
from fstore.stream_plan import Reader, runs_of, turns
from fstore.values import integer

Transform = Callable[[Tensor, Tensor], Any]
LARGEST_SEED = 2**63 - 1
LARGEST_BUFFER = 2**31
BYTES_TOGETHER = 2**24  # of a stream's labels, or of its images where these are larger


class _Memory:
    """Where decoded items go: ``images`` (count, 3, H, W), and ``targets`` (count, H, W) or (count, K, 3).

    The system hands out large pieces of memory in large pages. With a piece for each item a batch spends more
    time on the first touch of its pages than on decoding. No place is used twice: an item belongs to whoever
    asked for it.
    """

    def __init__(self, count: int, items: LabelledItems, *, shared: bool = False) -> None:
        height, width, channels = items.image_shape
        make = _shared_tensor if shared else _tensor
        self.images = make((count, channels, height, width), torch.uint8)
        kind = torch.int64 if items.target_is_integer else torch.float32
        self.targets = make((count, *items.target_shape), kind)
        self.count, self.used = count, 0
        self._pixels = np.empty(items.image_shape, np.uint8)  # of one image: it stays in the caches
        self._into = self.images.numpy(), self.targets.numpy()

    @property
    def is_full(self) -> bool:
        return self.used == self.count

    def decode(self, items: LabelledItems, item: EncodedItem) -> tuple[Tensor, Tensor]:
        """The next item: image (3, H, W) uint8, and label (H, W) int64 or keypoints (K, 3) float32."""
        image, target = (array[self.used] for array in self._into)
        self.used += 1
        target[...] = items.decode(item, self._pixels)
        image[...] = self._pixels.transpose(2, 0, 1)
        # Each is a tensor of a storage of its own: to save or to send one does not take the others along.
        return torch.from_numpy(image), torch.from_numpy(target)


class _LabelledImages:
    """What both kinds of dataset have: which images, of which classes, and how an item becomes tensors."""

    def __init__(self, items: LabelledItems, transform: Transform | None, image_dtype: torch.dtype) -> None:
        if image_dtype != torch.uint8 and not image_dtype.is_floating_point:
            raise StoreError(f"image_dtype is {image_dtype}: expected torch.uint8 or a floating dtype")
        if transform is not None and not callable(transform):
            raise StoreError(f"transform is a {type(transform).__name__}: expected a function or None")
        self.transform = transform
        self.image_dtype = image_dtype
        self._items = items

    @property
    def ids(self) -> np.ndarray:
        """(n,) int64: the index in the store of each image."""
        return self._items.ids

    @property
    def meta(self) -> Meta:
        """The store's attribute: ``meta.classes`` has id, name and colour, ``meta.keypoints`` the names."""
        return self._items.meta

    @property
    def classes(self) -> list[str]:
        """The names of the classes; a name's place is its id in the labels."""
        return [info.name for info in self.meta.classes]

    @property
    def ignore(self) -> int | None:
        """The label that belongs to no class, as ``CrossEntropyLoss(ignore_index=...)`` wants it, or None."""
        return self.meta.ignore

    def _finish(self, items: Iterable[EncodedItem], together: int | None = None) -> Iterator[Any]:
        """Each item decoded when its turn comes, ``together`` of them in one piece of memory. Where it is not
        known how many are asked for at once: as many as ``BYTES_TOGETHER`` holds.
        """
        if together is None:
            shapes = self._items.image_shape, self._items.target_shape
            together = max(1, BYTES_TOGETHER // max(math.prod(shapes[0]), 8 * math.prod(shapes[1])))
        memory: _Memory | None = None
        for item in items:
            if memory is None or memory.is_full:
                memory = _Memory(together, self._items)
            pixels, label = memory.decode(self._items, item)
            if self.image_dtype != torch.uint8:
                pixels = _in_unit_interval(pixels, self.image_dtype)
            yield (pixels, label) if self.transform is None else self.transform(pixels, label)

    def _batch(self, items: Sequence[EncodedItem]) -> Any:
        """A batch: images (B, 3, H, W), and labels (B, H, W) int64 or keypoints (B, K, 3) float32.

        Each item is decoded to its place in the batch. ``DataLoader`` makes a batch of single items by
        copying them once more, and of labels as int64 that takes longer than to decode them.
        """
        if self.transform is not None:
            return default_collate(list(self._finish(items, len(items))))
        memory = _Memory(len(items), self._items, shared=get_worker_info() is not None)
        for item in items:
            memory.decode(self._items, item)
        if self.image_dtype == torch.uint8:
            return memory.images, memory.targets
        return _in_unit_interval(memory.images, self.image_dtype), memory.targets

    def _shown(self, name: str) -> str:
        what = "keypoints" if self.meta.keypoints is not None else f"{len(self.classes)} classes"
        return f"<fstore.{name} '{self._items.location}': {len(self.ids)} images, {what}>"


class LabelledImages(_LabelledImages, Dataset[Any]):
    """The map-style dataset of ``torch_dataset``. An index is one of a list: from the end where negative; a
    list of them gives a batch.
    """

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: SupportsIndex | list[SupportsIndex]) -> Any:
        if isinstance(index, list):
            return self._batch(self._items.fetch([self._place(i) for i in index]))
        (item,) = self._finish(self._items.fetch([self._place(index)]), 1)
        return item

    def __getitems__(self, indices: Sequence[SupportsIndex]) -> list[Any]:
        """The items of a batch, for which ``DataLoader`` asks at once: each file is opened once, and at a
        URL they all come together.
        """
        return list(self._finish(self._items.fetch([self._place(i) for i in indices]), len(indices)))

    def __repr__(self) -> str:
        return self._shown("torch_dataset")

    def _place(self, index: SupportsIndex) -> int:
        place, length = operator.index(index), len(self)
        if not -length <= place < length:
            raise IndexError(f"index {place} is out of range for {length} images")
        return place % length


class LabelledImageStream(_LabelledImages, IterableDataset[Any]):
    """The iterable dataset of ``torch_iterable``: a pass over it is an epoch, this reader's part of it."""

    def __init__(
        self,
        items: LabelledItems,
        transform: Transform | None,
        image_dtype: torch.dtype,
        *,
        shuffle_buffer: int,
        seed: int,
        ranks: tuple[int, int] | None,
        drop_last: bool,
        batch_size: int | None,
    ) -> None:
        super().__init__(items, transform, image_dtype)
        self.shuffle_buffer = integer("shuffle_buffer", shuffle_buffer, 1, LARGEST_BUFFER)
        self.seed = integer("seed", seed, 0, LARGEST_SEED)
        self.drop_last = drop_last
        self.batch_size = None if batch_size is None else integer("batch_size", batch_size, 1, LARGEST_BUFFER)
        self._ranks = ranks
        # In shared memory, because workers that live on from epoch to epoch have a copy of this object.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next passes are. Call it before each; without it every pass is in the same order.

        Raises StoreError for what is no integer of 0 or more.
        """
        self._epoch.fill_(integer("epoch", epoch, 0, LARGEST_SEED))

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        reader = Reader(*(self._ranks or _ranks_of_torch() or (0, 1)), *workers)
        self._items.check()
        items = self._pass(reader, int(self._epoch))
        return self._finish(items) if self.batch_size is None else self._batches(items, self.batch_size)

    def _batches(self, items: Iterator[EncodedItem], size: int) -> Iterator[Any]:
        while batch := list(islice(items, size)):
            yield self._batch(batch)

    def _pass(self, reader: Reader, epoch: int) -> Iterator[EncodedItem]:
        random = {"seed": self.seed, "epoch": epoch}
        runs = runs_of(
            self.ids,
            self._items.images_of_file,
            reader,
            longest=self.shuffle_buffer,
            drop_last=self.drop_last,
            **random,
        )
        waiting: dict[int, EncodedItem] = {}
        for turn in turns(runs, reader, shuffle_buffer=self.shuffle_buffer, **random):
            for run in turn.runs:
                waiting.update((item.place, item) for item in self._items.fetch(run.tolist()))
            yield waiting.pop(turn.place)

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker does not know the process group of the rank that it works for.
        return {**self.__dict__, "_ranks": self._ranks or _ranks_of_torch()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._epoch.share_memory_()  # a copy of the tensor is in memory of its own

    def __repr__(self) -> str:
        return self._shown("torch_iterable")


def torch_dataset(
    path: str | os.PathLike[str],
    *,
    kept_only: bool = True,
    transform: Transform | None = None,
    image_dtype: torch.dtype = torch.uint8,
) -> LabelledImages:
    """A store's labelled images as a map-style ``torch.utils.data.Dataset``.

    An item is what torchvision's segmentation sets give, ``(image, label)``: image (3, H, W), label (H, W)
    int64 of class ids and, in annotated masks, ``.ignore``. In a store of keypoints it is
    ``(image, keypoints)``, keypoints (K, 3) float32: x, y in pixels, the centre of pixel (row, column) at
    (column, row) + 0.5; then the confidence or, in a feature store, 1, and 0 for a point that is not
    labelled.

    ``dataset[[3, 1, 4]]`` gives a batch, ``(images (B, 3, H, W), labels (B, H, W))``; with a ``transform`` it
    is what ``default_collate`` makes of the items. The fastest way is to let workers ask for batches: a
    ``DataLoader`` with ``batch_size=None`` and ``sampler=BatchSampler(RandomSampler(dataset), 32, False)``.

    ``.ids`` (n,) are the images' indices in the store, ``.classes`` the names of the classes, ``.meta``
    has their colours and the keypoints' names, ``.ignore`` is the label to leave out, or None.

    It works with ``DataLoader``, its workers (forked or spawned) and ``DistributedSampler``. Each process
    opens the store for itself. It is an error where the store is replaced while it is read, or a dataset of
    kept images gets another filter.

    Args:
        path: folder or URL of a dataset, or of a feature store, of which it gives the annotated images.
        kept_only: only the images that the filter of a dataset keeps. False: all that are committed, also
            of a dataset that is not complete. A feature store has no filter.
        transform: a function of both, ``transform(image, label)``, each a plain tensor as above; what it
            returns is the item. Transforms of torchvision v2 must be told which tensor is a mask: wrap the
            two in ``tv_tensors.Image`` and ``tv_tensors.Mask`` first, or they move the image and not the
            label. In a worker ``DataLoader`` has seeded the random numbers of torch, numpy and Python.
        image_dtype: ``torch.uint8``, values as stored, or a floating dtype, values / 255 in [0, 1].

    Raises:
        StoreError: no such store, no filter yet, no image to give, or an argument of the wrong kind.
        CorruptionError, at an item: a chunk is missing or damaged. IndexError: no such item.
    """
    return LabelledImages(_select(path, kept_only), transform, image_dtype)


def torch_iterable(
    path: str | os.PathLike[str],
    *,
    shuffle_buffer: int = 512,
    seed: int = 0,
    kept_only: bool = True,
    transform: Transform | None = None,
    image_dtype: torch.dtype = torch.uint8,
    rank: int | None = None,
    world_size: int | None = None,
    drop_last: bool = False,
    batch_size: int | None = None,
) -> LabelledImageStream:
    """A store's labelled images as a ``torch.utils.data.IterableDataset`` that reads file by file.

    Items, attributes and the other arguments are those of ``torch_dataset``. An image's file holds 64 images:
    they are read together, which suits disks that seek and stores at a URL. Files come in a random order, and
    images leave a buffer at random. The order follows from ``seed``, the epoch, the numbers of ranks and
    workers and ``shuffle_buffer`` alone: call ``set_epoch(epoch)`` before each epoch, also where workers are
    persistent.

    The ranks of ``torch.distributed`` and the workers of ``DataLoader`` share an epoch: together they give
    every image exactly once. Use no sampler. Ranks differ by at most one image, and hence by a batch: a
    program that waits for all ranks at every batch would wait for ever. ``drop_last=True`` gives every
    rank the same number of images and batches (with as many workers each); fewer images than there are ranks
    are left out, others in each epoch.

    It has no length, because the number of batches depends on the workers, each of which ends with a batch of
    its own: ``len(stream.ids)`` is the number of images.

    Args:
        shuffle_buffer: images that wait, in each worker, compressed as on disk: the memory that it takes at
            most, beside the batches. As many as a worker's images shuffle evenly; 1 reads file by file,
            in order.
        seed: 0 to 2**63 - 1.
        rank, world_size: in place of what ``torch.distributed`` says at the time of iterating.
        drop_last: leave out up to ``world_size`` - 1 images, so that the ranks have equally many.
        batch_size: give whole batches, as ``torch_dataset`` does for a list, for ``DataLoader`` with
            ``batch_size=None``; it is the fastest way. The last one of each worker may be smaller.

    Raises:
        StoreError: as ``torch_dataset``, and at the beginning of an epoch where the store was replaced.
    """
    return LabelledImageStream(
        _select(path, kept_only),
        transform,
        image_dtype,
        shuffle_buffer=shuffle_buffer,
        seed=seed,
        ranks=_checked_ranks(rank, world_size),
        drop_last=drop_last,
        batch_size=batch_size,
    )


def _select(path: str | os.PathLike[str], kept_only: bool) -> LabelledItems:
    """The items of a store. Raises StoreError where there are none, or it is not known which."""
    store = open_store(Location.parse(path))
    if not isinstance(store, LabelledDataset) or not kept_only:
        return committed_items(store)
    where = store.location
    if not store.complete:
        raise StoreError(
            f"{where}: {len(store)} of {store.num_images} images are committed, and no filter is set; "
            f"run the same `{store.meta.maker}` to its end, or pass kept_only=False for those that are there"
        )
    if store.meta.keep is None:
        raise StoreError(
            f"{where}: no filter is set yet; run `dgan filter`, or pass kept_only=False for all its images"
        )
    return kept_items(store, store.kept)


def _tensor(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor to be filled, of memory of NumPy's, which asks the system for large pages."""
    names = {torch.uint8: np.uint8, torch.int64: np.int64, torch.float32: np.float32}
    return torch.from_numpy(np.empty(shape, names[dtype]))


def _shared_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor to be filled, in memory that other processes can have without a copy."""
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage, 0, shape)  # type: ignore[call-overload]


def _in_unit_interval(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Values / 255, computed in float32 where ``dtype`` has fewer bits."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return pixels.to(wide).div_(255).to(dtype)


def _ranks_of_torch() -> tuple[int, int] | None:
    """Rank and number of ranks of the process group, or None where there is none."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def _checked_ranks(rank: int | None, world_size: int | None) -> tuple[int, int] | None:
    if rank is None and world_size is None:
        return None
    if rank is None or world_size is None:
        raise StoreError(f"rank is {rank} and world_size {world_size}: pass both, or neither")
    count = integer("world_size", world_size, 1, 2**31)
    return integer("rank", rank, 0, count - 1), count
