"""All that a run of ``dgan export`` needs, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fstore import format as fmt
from fstore.errors import StoreError
from fstore.values import finite
from pipeline.errors import UsageError, count
from pipeline.exports.content import Content, open_content
from pipeline.exports.folder import ExportFolder
from pipeline.exports.formats.protocol import Exporter, ExportInfo
from pipeline.exports.formats.table import make_exporter
from pipeline.exports.identity import settings_of
from pipeline.exports.plan import Part, SplitPlan, plan_parts, split_images
from pipeline.settings.schema import EXPORT_FORMATS, Config, ExportConfig


@dataclass(frozen=True)
class ExportJob:
    """content: what is exported. settings: what a later run of the same command must have equal, as JSON
    values.
    """

    content: Content
    info: ExportInfo
    exporter: Exporter
    splits: tuple[SplitPlan, ...]
    parts: tuple[Part, ...]
    folder: ExportFolder
    format: str
    settings: dict[str, Any]
    store: str
    config: Config
    """The place of the store and the configuration, for workers that prepare the same job."""


def prepare(store_path: str, out: Path, config: ExportConfig) -> ExportJob:
    """Open the store and plan the export.

    Raises UsageError where the settings or the store do not fit, StoreError where it is no store.
    """
    if config.format is None:
        raise UsageError(f"no format is named; pass --format, one of {', '.join(EXPORT_FORMATS)}")
    content = open_content(store_path, config)
    _refuse_inside(content, out)
    splits = split_images(content.numbers, config.split, config.seed)
    empty = [str(split.name) for split in splits if not split.places]
    if empty:
        raise UsageError(
            f"--split {config.split}: {empty[0]} would be empty, of {count(len(content), 'image')}; give it "
            "a larger fraction"
        )
    info = _info(content, config, splits, out)
    exporter = make_exporter(config.format, info)
    parts = plan_parts(splits, exporter.part_images)
    settings = settings_of(content, config, info)
    return ExportJob(
        content,
        info,
        exporter,
        splits,
        parts,
        ExportFolder(out),
        config.format,
        settings,
        store_path,
        Config(export=config),
    )


def _refuse_inside(content: Content, out: Path) -> None:
    store = content.store.location.folder
    if store is not None and out.resolve().is_relative_to(store.resolve()):
        raise UsageError(f"{out}: lies in the store {store}; name a folder outside of it")


def _info(content: Content, config: ExportConfig, splits: tuple[SplitPlan, ...], out: Path) -> ExportInfo:
    encoding = config.image_encoding
    if encoding == "auto":
        encoding = "jpeg" if config.format == "voc" else "png"
    return ExportInfo(
        shape=content.shape,
        classes=content.classes,
        ignore=content.ignore,
        keypoint_names=content.keypoint_names,
        has_scores=content.is_dataset,
        image_encoding=encoding,
        jpeg_quality=config.jpeg_quality,
        splits={split.name: len(split.places) for split in splits},
        out=out.resolve(),
        source=_source(content),
    )


def _source(content: Content) -> dict[str, Any]:
    """What the store is: its name without folders, so that nothing of the machine is told.

    Raises StoreError where it holds a number that JSON cannot hold.
    """
    meta = content.store.meta
    source: dict[str, Any] = {
        "store": str(content.store.location).rstrip("/").rpartition("/")[2],
        "kind": meta.kind,
        "id": content.store.id,
        "generator": dict(meta.generator),
    }
    if isinstance(meta, fmt.DatasetMeta):
        source |= {"interpreter": dict(meta.interpreter), "score": meta.score, "seed": meta.seed}
        source |= {"keep": meta.keep, "threshold": meta.threshold}
        if meta.filter is not None:
            source["filter"] = meta.filter.to_json()
        if meta.translator is not None:
            source["translator"] = dict(meta.translator)
    for name, value in source.items():
        try:
            finite(name, value)
        except StoreError as error:
            raise StoreError(
                f"{content.store.location}: attribute 'fstore': {error}, since JSON has no other; mend it in "
                "zarr.json"
            ) from None
    return source
