"""Says which generator the content of a checkpoint file is, and builds it.

A new way of naming a generator's tensors is one file in `loaders/` and one entry here. This module knows no
files. Every fault is a ValueError: `NotFound` where there is no generator, or where it is not clear which is
meant; UnsupportedNetwork where the network is of another kind; a plain one where the network is damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from pipeline.checkpoints.containers.inert_values import Record
from pipeline.checkpoints.loaders import (
    nvidia,
    rosinality,
    stylegan1_port,
    tensorflow_stylegan1,
    tensorflow_stylegan2,
)
from pipeline.checkpoints.loaders.choice import is_averaged, is_under, preferred, shown_paths
from pipeline.checkpoints.loaders.network import FoundNetwork, checked_average
from pipeline.checkpoints.loaders.other_networks import other_network
from pipeline.checkpoints.loaders.records import class_name, fields, text_of
from pipeline.checkpoints.loaders.search import Candidate, Layout, candidates, mapping_paths
from pipeline.checkpoints.loaders.tables import Table, tables_of
from pipeline.checkpoints.loaders.tensor_table import tensor_shape
from pipeline.checkpoints.loaders.tensorflow import TFGenerator, generator_of, is_network, networks_of
from pipeline.errors import short

LAYOUTS: tuple[Layout, ...] = (stylegan1_port.LAYOUT, rosinality.LAYOUT, nvidia.LAYOUT)
"""Of networks of named tensors, in state dicts or in pickled modules."""

TENSORFLOW_LOADERS: tuple[Callable[[TFGenerator], FoundNetwork | None], ...] = (
    tensorflow_stylegan1.load,
    tensorflow_stylegan2.load,
)
"""Each gives the generator where a TensorFlow network is of its kind, else None. None is of two kinds."""

SUPPORTED = (
    "a StyleGAN1 generator (*.for_g_all.pt, or NVIDIA's TensorFlow pickle) or a StyleGAN2 generator "
    "(rosinality's state dict, a StyleGAN2-ADA pickle or state dict, or NVIDIA's TensorFlow pickle)"
)


class NotFound(ValueError):
    """A file has no generator that can be read, or several; the message is whole and says what to do."""


def recognise(content: Any, key: str | None = None) -> tuple[FoundNetwork, str | None]:
    """The generator in a file's content, and its key.

    Of several generators `key` names one by the key that it stands under, or by a part of the path of keys.
    The key that is returned is None where the same generator would be taken without a key.
    """
    networks = networks_of(content)
    if networks:
        return _of_tensorflow(networks, key, content)
    tables, faults = tables_of(content)
    found = candidates(tables, LAYOUTS)
    if not found and faults:
        raise ValueError(next(iter(faults.values())))
    if not found:
        raise NotFound(f"found {_no_generator(content, tables)}; expected {SUPPORTED}")
    meant = _meant(found, key)
    alone = _meant_alone(found)
    if key is None and not is_averaged(meant.path):
        _refuse_damaged_average(tables, faults)
    network = _built(meant, with_average=alone is not None or _has_its_own_average(meant))
    return network, None if alone is meant else _names(found)[found.index(meant)]


def _refuse_damaged_average(tables: Sequence[Table], faults: Mapping[str, str]) -> None:
    """ValueError where the file also has an averaged generator that is damaged.

    The generator that was not averaged must not be used in its place unless somebody asks for it.
    """
    for path, fault in faults.items():
        if is_averaged(path):
            raise ValueError(f"the averaged network under {text_of(path)} cannot be read: {fault}")
    for layout in LAYOUTS:
        for path in mapping_paths(layout, tables):
            if is_averaged(path):
                raise ValueError(
                    f"the averaged network under {text_of(path)} has a mapping network and no tensor "
                    f"{layout.synthesis_mark!r}"
                )


def _no_generator(content: Any, tables: Sequence[Table]) -> str:
    """What a file holds in whose tables no generator was found."""
    kind = other_network(tables)
    if kind is not None:
        return f"{kind}, which is not supported"
    if any(mapping_paths(layout, tables) for layout in LAYOUTS):
        marks = " or ".join(repr(layout.synthesis_mark) for layout in LAYOUTS)
        return f"a mapping network, and no tensor that a synthesis network has ({marks})"
    return describe(content)


def _names(found: Sequence[Candidate]) -> list[str]:
    """What `key` may be, for each: its place, or its whole path where the place says less."""
    places = [each.place for each in found]
    return [each.place if places.count(each.place) == 1 and each.place else each.path for each in found]


def _meant(found: Sequence[Candidate], key: str | None) -> Candidate:
    exact = [each for each in found if key in (each.path, each.place)]
    fitting = exact or [each for each in found if key is None or is_under(each.path, key)]
    if not fitting:
        names = shown_paths(_names(found))
        raise NotFound(f"it holds no generator under the key {short(key)}; --key may be {names}")
    place = preferred([each.path for each in fitting])
    if place is None and len({id(each.mark) for each in fitting}) == 1:  # one network under several names
        return fitting[0]
    if place is None:
        raise NotFound(
            f"it holds {len(fitting)} generators, and which is meant is not clear; name it with --key, which "
            f"may be {shown_paths(_names(fitting))}"
        )
    return fitting[place]


def _meant_alone(found: Sequence[Candidate]) -> Candidate | None:
    """The generator that is meant where no key is given; None where that is not clear."""
    try:
        return _meant(found, None)
    except NotFound:
        return None


def _has_its_own_average(found: Candidate) -> bool:
    """Whether its average latent stands inside the generator: one around it may be of another generator."""
    return found.average is not None and f".{found.average[0]}".startswith(f".{found.place}.")


def _built(found: Candidate, *, with_average: bool) -> FoundNetwork:
    if not found.has_mapping:
        raise ValueError(
            f"the generator has no mapping network: it has no tensor {found.layout.mapping_mark!r}"
        )
    network = found.layout.build(found)
    if found.average is None or not with_average:
        return network
    name, value = found.average
    average = checked_average({name: value}, name, network.generator.latent_size)
    return replace(network, average_latent=average)


def _of_tensorflow(
    networks: Mapping[str, Record], key: str | None, content: Any
) -> tuple[FoundNetwork, str | None]:
    *_, last = networks
    name = last if key is None else key
    if name not in networks:
        raise NotFound(f"it holds no network {short(key)}; --key may be {shown_paths([*networks])}")
    source = generator_of(networks[name], name)
    for load in TENSORFLOW_LOADERS:
        found = load(source)
        if found is not None:
            return found, None if name == last else name
    raise NotFound(f"found {describe(content)}; expected {SUPPORTED}")


def describe(content: Any) -> str:
    """What a file holds that is no supported generator, in a few words."""
    items = [content] if isinstance(content, Record) else content
    if isinstance(items, (list, tuple)) and items and all(is_network(item) for item in items[:4]):
        names = ", ".join(text_of(item.get("name")) for item in items[:4])
        return f"the TensorFlow network{'s' * (len(items) > 1)} {names}"
    if isinstance(content, Record):
        return f"an object of class {short(class_name(content))}"
    entries = fields(content)
    if entries:
        names = ", ".join(_entry(key, value) for key, value in islice(entries.items(), 3))
        return f"a dict with the keys {names} ({len(entries)} in all)"
    return "one tensor" if tensor_shape(content) is not None else f"a {type(content).__name__}"


def _entry(key: Any, value: Any) -> str:
    shown = text_of(key)
    return f"{shown} (of class {short(class_name(value))})" if isinstance(value, Record) else shown
