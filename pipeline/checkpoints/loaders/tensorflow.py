"""Reads the networks that NVIDIA's TensorFlow programs pickle, without TensorFlow: records of
``dnnlib.tflib.network.Network`` whose state has a version, static keyword arguments, module source (never
looked at), variables and component networks.

It gives the generator's variables under one spelling. The loaders of StyleGAN1 and StyleGAN2 decide which
network they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pipeline.checkpoints.containers.inert_values import Record
from pipeline.checkpoints.loaders.budget import Budget
from pipeline.checkpoints.loaders.records import fields, named, text_of
from pipeline.checkpoints.loaders.tensor_table import MAX_TENSORS, TensorTable

NETWORK_MODULE = "tflib.network"
MAX_NETWORKS = 16
_COMPONENTS = ("mapping", "synthesis")
_OF_GROWING = re.compile(r"(synthesis/)?lod|synthesis/ToRGB_lod\d+/.*")
_MAPPING = re.compile(r"Dense\d+/|LabelConcat/|LabelEmbed/")
_SYNTHESIS = re.compile(r"\d+x\d+/|noise\d+$|ToRGB_lod\d+/")
_FLAT_PREFIXES = (("G_mapping/", "mapping/"), ("G_synthesis/", "synthesis/"))


@dataclass(frozen=True)
class TFGenerator:
    """Variables of a generator, named ``mapping/...``, ``synthesis/...`` and ``dlatent_avg``, and what it was
    built with.
    """

    table: TensorTable
    arguments: Mapping[str, Any]
    name: str
    """Which of the file's networks it is, for people."""

    def take(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        """A variable as it is stored; see `TensorTable.take`."""
        return self.table.take(name, shape)

    def transposed(self, name: str) -> Tensor:
        """A dense layer's weight (in, out) as [out, in]."""
        return self.table.take(name, (None, None)).T.contiguous()

    def kernel(self, name: str, side: int) -> Tensor:
        """A convolution's weight (side, side, in, out) as [out, in, side, side]."""
        return self.table.take(name, (side, side, None, None)).permute(3, 2, 0, 1).contiguous()

    def check_fully_grown(self, resolution: int) -> None:
        """ValueError unless the network had grown to its whole size.

        Training begins with small images (Karras et al. 2018, section 2) and stores as ``lod`` how many
        doublings of the side are to come; until then the last layers are untrained.
        """
        name = "lod" if "lod" in self.table else "synthesis/lod"
        lod = float(self.table.number(name)) if name in self.table else 0.0
        if lod > 0:
            raise ValueError(
                f"training had reached {resolution / 2 ** min(lod, 99):.3g} of {resolution} px only "
                f"(its lod is {lod:.3g}, expected 0); use a later snapshot"
            )

    def average_latent(self, latent_size: int) -> np.ndarray | None:
        """The average latent in W, (D,) float32; None where the file has none."""
        if "dlatent_avg" not in self.table:
            return None
        return np.asarray(self.take("dlatent_avg", (latent_size,)).numpy())

    def check_all_taken(self) -> None:
        """ValueError naming the first variable that was not taken, those of progressive growing aside."""
        self.table.check_all_taken(lambda name: _OF_GROWING.fullmatch(name) is not None)

    def require(self, fixed: Mapping[str, tuple[Any, ...]]) -> None:
        """ValueError naming the first static argument whose value is none of those given for it."""
        for name, allowed in fixed.items():
            found = self.arguments.get(name, allowed[0])
            if isinstance(found, np.generic):
                found = found.item()
            found = tuple(found) if isinstance(found, (list, np.ndarray)) else found
            if not any(type(found) is type(value) and found == value for value in allowed):
                wanted = " or ".join(text_of(value) for value in allowed)
                raise ValueError(f"it was built with {name} = {text_of(found)}, supported is {wanted}")


def networks_of(content: Any) -> dict[str, Record]:
    """The TensorFlow networks of a file by name, the one that renders last; empty where there is none.

    In a triple (G, D, Gs) that is Gs, the average over training steps. A network may stand alone.
    """
    networks = [content] if isinstance(content, Record) else content
    if not isinstance(networks, (list, tuple)) or not 0 < len(networks) <= MAX_NETWORKS:
        return {}
    if not all(is_network(network) for network in networks):
        return {}
    if len(networks) == 3:
        return dict(zip(("G", "D", "Gs"), networks, strict=True))
    return {text_of(network.get("name")).strip("'"): network for network in networks}


def generator_of(record: Record, name: str) -> TFGenerator:
    """The variables and arguments of one network, which may be no generator. Raises ValueError."""
    variables: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    budget = Budget(entries=MAX_TENSORS)
    _collect(record, "", variables, arguments, budget)
    components = fields(fields(record.state).get("components"))
    for part in _COMPONENTS:
        if is_network(components.get(part)):
            _collect(components[part], f"{part}/", variables, arguments, budget)
    return TFGenerator(TensorTable(variables), arguments, name)


def is_network(value: Any) -> bool:
    """Whether a value is the record of a TensorFlow network."""
    return isinstance(value, Record) and value.name == "Network" and value.module.endswith(NETWORK_MODULE)


def _collect(
    record: Record, prefix: str, variables: dict[str, Any], arguments: dict[str, Any], budget: Budget
) -> None:
    """Add a network's variables and arguments to those found so far."""
    state = fields(record.state)
    arguments.update(named(state.get("static_kwargs"), budget))
    found = state.get("variables")
    if not isinstance(found, (list, tuple)):
        raise ValueError(f"the network {text_of(state.get('name'))} has no list of variables")
    budget.spend_entries(len(found))
    for entry in found:
        if not (isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)):
            raise ValueError(f"a variable is {text_of(entry)}, expected a pair (name, array)")
        name, value = entry
        variables[prefix + name if prefix else _spelling(name)] = value


def _spelling(name: str) -> str:
    """The name of a top-level variable; some files keep all variables there, with or without a prefix."""
    for long, short in _FLAT_PREFIXES:
        if name.startswith(long):
            return short + name.removeprefix(long)
    if _MAPPING.match(name):
        return f"mapping/{name}"
    return f"synthesis/{name}" if _SYNTHESIS.match(name) else name
