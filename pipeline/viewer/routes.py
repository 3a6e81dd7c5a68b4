"""What the page can ask for, and the answer to each: the page itself, arrays of all images, single pictures.

There is no route to files. A picture is asked for by its image's index, in a page that names the state of the
store that it shows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from threading import BoundedSemaphore

import numpy as np

from pipeline.errors import short
from pipeline.viewer.answers import BINARY, HTML, Answer, Refused, as_json
from pipeline.viewer.class_areas import ClassAreas
from pipeline.viewer.content import Content, NoImageError, ReplacedError, Snapshot
from pipeline.viewer.gate import INTEGER, Question
from pipeline.viewer.packed_arrays import pack
from pipeline.viewer.picture_cache import PictureCache
from pipeline.viewer.pictures import Encoded, Pictures

SIZES = (16, 4096)  # least and most pixels of a picture's longer side
MOST_CLASSES = 65535
KEY = re.compile(r"[0-9a-zA-Z]{1,32}-[0-9]{1,9}")


class Routes:
    """The answers for one store. A class, because it holds the store, and the pictures asked for last."""

    def __init__(self, place: str, page: Callable[[Snapshot], tuple[str, str]]) -> None:
        self._content = Content(place)
        self._page = page
        self.areas = ClassAreas(self._content)
        self._pictures = Pictures(self._content)
        self._cache = PictureCache()
        self._makers = BoundedSemaphore(max(2, os.cpu_count() or 1))  # pictures in the making, for memory
        self._named = {"": self._page_of_all, "all": self._all, "classes": self._progress}

    def answer(self, question: Question) -> Answer:
        """The answer to a question. Raises Refused where there is none."""
        try:
            if question.route in self._named:
                return self._named[question.route](question)
            kind, _, rest = question.route.partition("/")
            if kind == "class" and _is_index(rest):
                return self._shares(question, int(rest))
            if kind in self._pictures.kinds and _is_index(rest):
                return self._picture(question, kind, int(rest))
        except ReplacedError as error:
            raise Refused(HTTPStatus.GONE, str(error)) from None
        except NoImageError as error:
            raise Refused(HTTPStatus.NOT_FOUND, str(error)) from None
        raise Refused(HTTPStatus.NOT_FOUND, "there is no such address")

    def _page_of_all(self, question: Question) -> Answer:
        question.check_names()
        text, policy = self._page(self._content.newest())
        return Answer(HTML, text.encode(), policy=policy)

    def _all(self, question: Question) -> Answer:
        """Index, uncertainty and filter of all committed images, and the key of this state."""
        question.check_names()
        snapshot = self._content.newest()
        arrays = {"ids": snapshot.store.image_ids.astype(np.uint32)}
        if snapshot.uncertainty is not None:
            arrays["uncertainty"] = snapshot.uncertainty
        if snapshot.kept is not None:
            arrays["kept"] = snapshot.kept.astype(np.uint8)
        values = {"key": snapshot.key, "numImages": snapshot.store.num_images}
        return Answer(BINARY, pack(arrays, values))

    def _progress(self, question: Question) -> Answer:
        progress = self.areas.progress(self._snapshot(question))
        return as_json({"done": progress.num_done, "total": progress.num_images, "line": progress.line})

    def _shares(self, question: Question, label: int) -> Answer:
        """Each image's share of one class; in the order of ``ids`` of ``all``, or longer by now."""
        snapshot = self._snapshot(question)
        if label >= len(snapshot.store.meta.classes):
            raise Refused(HTTPStatus.NOT_FOUND, f"the store has no class {label}")
        shares = self.areas.shares(snapshot, label)
        return Answer(BINARY, pack({"ids": snapshot.store.image_ids.astype(np.uint32), "shares": shares}, {}))

    def _snapshot(self, question: Question) -> Snapshot:
        question.check_names("key")
        return self._content.of_key(_key(question))

    def _picture(self, question: Question, kind: str, image: int) -> Answer:
        question.check_names("key", "size")
        key, side = _key(question), question.integer("size", *SIZES)
        self._content.of_key(key)
        name = (key, kind, image, side)
        picture = self._cache.get(name, partial(self._made, key, kind, image, side))
        return Answer(picture.media_type, picture.content, is_lasting=True)

    def _made(self, key: str, kind: str, image: int, side: int | None) -> Encoded:
        with self._makers:
            return self._pictures.encode(key, kind, image, side)


def _is_index(text: str) -> bool:
    return INTEGER.fullmatch(text) is not None


def _key(question: Question) -> str:
    key = question.parameters.get("key", "")
    if not KEY.fullmatch(key):
        raise Refused(HTTPStatus.BAD_REQUEST, f"key is {short(key)}, expected that of the page")
    return key
