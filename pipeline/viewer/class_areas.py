"""Counts every image's pixels of each class in the background, so that the page can sort by a class.

Of 100,000 images this may read all labels, which takes minutes. Nothing waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event, Lock, Thread

import numpy as np

from fstore import format as fmt
from fstore.errors import StoreError
from pipeline.viewer.content import (
    Content,
    NoImageError,
    ReplacedError,
    Snapshot,
    image_shape,
    label_array,
)

WAITING, COUNTED, DAMAGED = range(3)
PAUSE_SECONDS, PAUSE_IMAGES = 0.002, 16  # how long and how often it stops: pictures asked for come first


@dataclass(frozen=True)
class Progress:
    """How far the count is: ``num_done`` of ``num_images``, those that cannot be read included. ``line`` says
    what is wrong with the first of these, or is empty.
    """

    num_done: int
    num_images: int
    line: str = ""


class ClassAreas:
    """The count of one snapshot at a time. A class, because a thread works on it."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._lock = Lock()
        self._key = ""
        self._pixels = np.zeros((0, 0), np.uint32)  # [N, K] by index, of images that are not counted 0
        self._states = np.zeros(0, np.uint8)  # [N]
        self._line = ""
        self._stop = Event()
        self._thread: Thread | None = None

    def progress(self, snapshot: Snapshot) -> Progress:
        """How far the count of the snapshot's images is. It begins, or goes on, where it has to."""
        with self._lock:
            if self._key != snapshot.key:
                self._begin(snapshot)
            self._lengthen(snapshot.store.num_images)
            ids = snapshot.store.image_ids
            num_done = int((self._states[ids] != WAITING).sum())
            is_at_work = self._thread is not None and self._thread.is_alive()
            if num_done < len(ids) and not is_at_work:
                self._thread = Thread(target=self._count, args=(snapshot, self._stop), daemon=True)
                self._thread.start()
            return Progress(num_done, len(ids), self._line)

    def shares(self, snapshot: Snapshot, label: int) -> np.ndarray:
        """(n,) float32: the share of each committed image that class covers, NaN where it is not counted."""
        with self._lock:
            if self._key != snapshot.key or label >= self._pixels.shape[1]:
                return np.full(len(snapshot.store), np.nan, np.float32)
            self._lengthen(snapshot.store.num_images)
            ids = snapshot.store.image_ids
            pixels, counted = self._pixels[ids, label], self._states[ids] == COUNTED
        size = float(np.prod(image_shape(snapshot.store)))
        return np.where(counted, pixels / size, np.nan).astype(np.float32)

    def stop(self) -> None:
        """End the count soon. Nobody waits for its thread, which ends after the image that it reads."""
        with self._lock:
            self._stop.set()

    def _begin(self, snapshot: Snapshot) -> None:
        self._stop.set()  # a count of a store that is gone
        self._stop, self._thread = Event(), None
        self._key, self._line = snapshot.key, ""
        self._pixels = np.zeros((0, len(snapshot.store.meta.classes)), np.uint32)
        self._states = np.zeros(0, np.uint8)

    def _lengthen(self, num_images: int) -> None:
        more = num_images - len(self._states)
        if more > 0:
            self._pixels = np.concatenate([self._pixels, np.zeros((more, self._pixels.shape[1]), np.uint32)])
            self._states = np.concatenate([self._states, np.zeros(more, np.uint8)])

    def _count(self, snapshot: Snapshot, stop: Event) -> None:
        num_classes = len(snapshot.store.meta.classes)
        for image in snapshot.store.image_ids.tolist():
            if self._states[image] != WAITING:
                continue
            if image % PAUSE_IMAGES == 0:
                stop.wait(PAUSE_SECONDS)
            if stop.is_set():
                return
            state, counts, line = DAMAGED, np.zeros(num_classes, np.int64), ""
            try:
                state, counts = COUNTED, self._pixels_of(snapshot, image)
            except StoreError as error:
                line = str(error)
            except (ReplacedError, NoImageError):  # the page is told when it asks for a picture
                return
            with self._lock:
                if stop.is_set():
                    return
                self._pixels[image], self._states[image] = counts, state
                self._line = self._line or line

    def _pixels_of(self, snapshot: Snapshot, image: int) -> np.ndarray:
        """(K,) pixels of each class, from the smallest array of the store that says it."""
        meta, key = snapshot.store.meta, snapshot.key
        if isinstance(meta, fmt.FeatureMeta):
            return self._content.read(key, "class_counts", image).sum((0, 1), np.int64)
        if meta.member_votes:  # a row adds up to the members times the pixels of its class
            votes = self._content.read(key, "member_votes", image).sum(1, np.int64)
            return votes * (meta.shape[0] * meta.shape[1]) // votes.sum()
        labels = self._content.read(key, label_array(snapshot.store), image)
        return np.bincount(labels.ravel(), minlength=len(meta.classes))[: len(meta.classes)]
