"""What the page can ask for, and the answer to each: the page itself, arrays of all images, single pictures.

There is no route to files. A picture is asked for by its image's index, in a page that names the state of the
store that it shows.
"""

from __future__ import annotations

import re
from functools import partial
from http import HTTPStatus
from threading import BoundedSemaphore

import numpy as np

from pipeline.errors import short
from pipeline.machine.cores import num_cores
from pipeline.reports.pictures import Encoded
from pipeline.viewer.answers import BINARY, HTML, Answer, Refused, as_json
from pipeline.viewer.class_areas import ClassAreas
from pipeline.viewer.content import Content, NoImageError, ReplacedError, Snapshot
from pipeline.viewer.gate import INTEGER, Question
from pipeline.viewer.packed_arrays import pack
from pipeline.viewer.page import page_text
from pipeline.viewer.picture_cache import PictureCache
from pipeline.viewer.pictures import KINDS, Pictures

SIZES = (16, 4096)  # least and most pixels of a picture's longer side
MOST_CLASSES = 65535
KEY = re.compile(r"[0-9a-zA-Z]{1,32}-[0-9]{1,9}")


class Routes:
    """The answers for one store. A class, because it holds the store, and the pictures asked for last."""

    def __init__(self, place: str) -> None:
        self._content = Content(place)
        self.areas = ClassAreas(self._content)
        self._pictures = Pictures(self._content)
        self._cache = PictureCache()
        self._makers = BoundedSemaphore(max(2, num_cores()))  # pictures in the making, for memory
        self._named = {"": self._page_of_all, "all": self._all, "classes": self._progress}

    @property
    def num_images(self) -> int:
        """How many images are committed, as far as is known."""
        return len(self._content.newest().store)

    def answer(self, question: Question) -> Answer:
        """The answer to a question. Raises Refused where there is none."""
        try:
            if question.route in self._named:
                return self._named[question.route](question)
            kind, _, rest = question.route.partition("/")
            if kind == "class" and _is_index(rest):
                return self._shares(question, int(rest))
            if kind == "points" and _is_index(rest):
                return self._points(question, int(rest))
            if kind in KINDS and _is_index(rest):
                return self._picture(question, kind, int(rest))
        except ReplacedError as error:
            raise Refused(HTTPStatus.GONE, str(error)) from None
        except NoImageError as error:
            raise Refused(HTTPStatus.NOT_FOUND, str(error)) from None
        raise Refused(HTTPStatus.NOT_FOUND, "there is no such address")

    def _page_of_all(self, question: Question) -> Answer:
        question.check_names()
        snapshot = self._content.newest()
        text, policy = page_text(snapshot, self._pictures.largest_divergence(snapshot))
        return Answer(HTML, text.encode(), policy=policy)

    def _all(self, question: Question) -> Answer:
        """Index, uncertainty and filter of all committed images, and the key of this state."""
        self._content.newest()  # more may be committed than when a picture was asked for
        snapshot = self._snapshot(question)
        arrays = {"ids": snapshot.store.image_ids.astype(np.uint32)}
        if snapshot.uncertainty is not None:
            arrays["uncertainty"] = snapshot.uncertainty
        if snapshot.kept is not None:
            arrays["kept"] = snapshot.kept.astype(np.uint8)
        values = {"key": snapshot.key, "numImages": snapshot.store.num_images}
        return Answer(BINARY, pack(arrays, values))

    def _progress(self, question: Question) -> Answer:
        progress = self.areas.progress(self._with_classes(question))
        return as_json({"done": progress.num_done, "total": progress.num_images, "line": progress.line})

    def _shares(self, question: Question, label: int) -> Answer:
        """Each image's share of one class; in the order of ``ids`` of ``all``, or longer by now."""
        snapshot = self._with_classes(question)
        if label >= len(snapshot.store.meta.classes):
            raise Refused(HTTPStatus.NOT_FOUND, f"the store has no class {label}")
        shares = self.areas.shares(snapshot, label)
        return Answer(BINARY, pack({"ids": snapshot.store.image_ids.astype(np.uint32), "shares": shares}, {}))

    def _snapshot(self, question: Question) -> Snapshot:
        question.check_names("key")
        return self._content.of_key(_key(question))

    def _with_classes(self, question: Question) -> Snapshot:
        snapshot = self._snapshot(question)
        if snapshot.store.meta.keypoints is not None:
            raise Refused(HTTPStatus.NOT_FOUND, "the store has keypoints, and no classes")
        return snapshot

    def _points(self, question: Question, image: int) -> Answer:
        snapshot = self._snapshot(question)
        if snapshot.store.meta.keypoints is None:
            raise Refused(HTTPStatus.NOT_FOUND, "the store has no keypoints")
        return as_json(self._pictures.points(snapshot, image))

    def _picture(self, question: Question, kind: str, image: int) -> Answer:
        question.check_names("key", "size")
        side = question.integer("size", *SIZES)
        snapshot = self._content.of_key(_key(question))
        if kind not in self._pictures.kinds(snapshot):
            raise Refused(HTTPStatus.NOT_FOUND, f"the store has no pictures of {kind}")
        make = partial(self._made, snapshot, kind, image, side)
        picture = self._cache.get((snapshot.key, kind, image, side), make)
        return Answer(picture.media_type, picture.content, is_lasting=True)

    def _made(self, snapshot: Snapshot, kind: str, image: int, side: int | None) -> Encoded:
        with self._makers:
            return self._pictures.encode(snapshot, kind, image, side)


def _is_index(text: str) -> bool:
    return INTEGER.fullmatch(text) is not None


def _key(question: Question) -> str:
    key = question.parameters.get("key", "")
    if not KEY.fullmatch(key):
        raise Refused(HTTPStatus.BAD_REQUEST, f"key is {short(key)}, expected that of the page")
    return key
