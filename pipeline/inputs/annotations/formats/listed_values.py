"""Classes as a file lists them by their values in the masks, in whatever format.

It knows values, names and colours. It knows no files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.source import label_text
from pipeline.settings.classes import BACKGROUND_NAMES, IGNORE_NAME
from pipeline.settings.schema import ClassConfig
from pipeline.settings.values import COLOR

Listed = tuple[object, object, object]
"""A value, its class's name, and the colour "#rrggbb" or None, as a file has them: nothing is checked yet."""


def listed_classes(entries: Iterable[Listed], where: str) -> tuple[tuple[ClassConfig, ...], frozenset[int]]:
    """The classes of values 0, 1, ..., and the values named ``__ignore__``, which are no class's.

    Value 0 is the background where nothing is said of it. Raises UsageError, one line that begins with
    ``where``, for values that leave a gap, and for two values of one name.
    """
    classes: dict[int, ClassConfig] = {}
    ignored: set[int] = set()
    for value, text, color in entries:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UsageError(f"{where}: a class has the label {value!r:.40}; expected a whole number from 0")
        if value in classes or value in ignored:
            raise UsageError(f"{where}: label {value} stands there twice; expected one class for each label")
        name = label_text(text, f"{where}: the class of label {value}")
        if name.casefold() == IGNORE_NAME:
            ignored.add(value)
        else:
            classes[value] = ClassConfig(name, _color(color))
    if not classes:
        return (), frozenset(ignored)
    classes.setdefault(0, ClassConfig(BACKGROUND_NAMES[0], None))
    values = sorted(classes)
    if values != list(range(len(values))):
        raise UsageError(
            f"{where}: its classes have the labels {few([str(value) for value in values], 8)}; expected 0 to "
            f"{len(values) - 1}, without a gap"
        )
    name, times = Counter(classes[value].name.casefold() for value in values).most_common(1)[0]
    if times > 1:
        raise UsageError(f"{where}: {times} classes are called {name!r}; expected a name for each")
    return tuple(classes[value] for value in values), frozenset(ignored)


def _color(value: object) -> str | None:
    try:
        return str(COLOR.parse(value))
    except ValueError:
        return None
