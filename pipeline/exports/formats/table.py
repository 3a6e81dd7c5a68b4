"""The formats by name. A new format is a module in this folder, a line here, and its name in the settings."""

from __future__ import annotations

import importlib

from pipeline.exports.formats.protocol import Exporter, ExportInfo

MODULES = {
    "png": "png",
    "voc": "voc",
    "coco": "coco",
    "webdataset": "webdataset",
    "parquet": "parquet",
    "ome-zarr": "ome_zarr",
    "released": "released",
}


def make_exporter(name: str, info: ExportInfo) -> Exporter:
    """The exporter of a format: ``open_exporter`` of its module.

    Raises UsageError where the format cannot hold what the store has, or a library that it needs is missing.
    """
    module = importlib.import_module(f"pipeline.exports.formats.{MODULES[name]}")
    exporter: Exporter = module.open_exporter(info)
    return exporter
