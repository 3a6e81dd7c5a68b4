"""What ``dgan evaluate`` refuses before it starts: an interpreter and a store that do not belong together.

They compare what both say of themselves, and read no features.
"""

from __future__ import annotations

from collections.abc import Sequence

from fstore.dataset import Dataset
from fstore.feature_store import FeatureStore
from fstore.meta import ClassInfo, FeatureMeta, LayerInfo
from pipeline.errors import UsageError, count, short
from pipeline.evaluation.job import Judged
from pipeline.interpreter.description import InterpreterInfo


def check_features(judged: Judged, store: FeatureStore) -> tuple[str, ...]:
    """Refuse a feature store whose images the interpreter cannot label. Returns notes for the user.

    Raises UsageError, one line.
    """
    check_any(store)
    if judged.info is None:
        return _check_members(judged, store)
    info, meta, where = judged.info, store.meta, store.location
    _check_task(judged, info, store)
    _check_generator(judged, info, store)
    if (info.layers, info.grid, info.upsample) != (meta.layers, meta.grid, meta.upsample):
        raise UsageError(
            f"{where}: {_features_text(meta)}; the interpreter {judged.folder} has learnt "
            f"{_features_text(info)}{_other_layer(info, meta)}: extract the images with the settings of its "
            "training"
        )
    if info.keypoints is None:
        check_names(f"{where}: its classes", meta.classes, judged, info.classes)
    return ()


def check_dataset(judged: Judged, dataset: Dataset) -> None:
    """Refuse a dataset that another interpreter has labelled. Raises UsageError, one line."""
    check_any(dataset)
    found = dataset.meta.interpreter.get("sha256")
    if found != judged.sha256:
        raise UsageError(
            f"{dataset.location}: was labelled by an interpreter with sha256 {_begin(found)}, "
            f"{judged.folder} has {_begin(judged.sha256)}; pass the interpreter that labelled it, or label "
            "anew with `dgan synthesize --overwrite`"
        )


def has_learnt(judged: Judged, store: FeatureStore) -> bool:
    """Whether the interpreter was trained on these images: the store is the same one, or its latents are."""
    if judged.info is None:
        return False
    trained, inputs = judged.info.store, store.meta.inputs
    same_latents = dict(trained.get("inputs") or {}).get("latents_sha256")
    return trained.get("id") == store.id or (
        same_latents is not None and same_latents == inputs.get("latents_sha256")
    )


def check_any(store: FeatureStore | Dataset) -> None:
    """Refuse a store without an image. Raises UsageError."""
    if not len(store):
        raise UsageError(
            f"{store.location}: holds no image yet; run the command that began it again, it goes on"
        )


def check_names(what: str, found: Sequence[ClassInfo], judged: Judged, learnt: Sequence[ClassInfo]) -> None:
    """Refuse classes that are not those that were learnt, in their order. Raises UsageError."""
    ours, theirs = [each.name for each in found], [each.name for each in learnt]
    if ours == theirs:
        return
    if len(ours) != len(theirs):
        says = f"are {len(ours)}, those of the interpreter {judged.folder} {len(theirs)}"
    else:
        place = next(i for i, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
        says = (
            f"and those of the interpreter {judged.folder} differ: label {place} is {short(ours[place])} "
            f"here and {short(theirs[place])} there"
        )
    raise UsageError(f"{what} {says}; expected the same names in the same order: extract with its classes")


def _check_task(judged: Judged, info: InterpreterInfo, store: FeatureStore) -> None:
    found, learnt = store.meta.keypoints, info.keypoints
    if (found is None) != (learnt is None):
        holds, knows = ("masks", "keypoints") if found is None else ("keypoints", "classes")
        raise UsageError(
            f"{store.location}: holds {holds}, the interpreter {judged.folder} has learnt {knows}; pass a "
            "store of the same task"
        )
    if found is not None and learnt is not None and found.names != learnt.names:
        raise UsageError(
            f"{store.location}: its {count(len(found.names), 'keypoint')} are not the "
            f"{len(learnt.names)} of the interpreter {judged.folder}; expected the same names in the same "
            "order"
        )


def _check_generator(judged: Judged, info: InterpreterInfo, store: FeatureStore) -> None:
    """Refuse another generator, where both say theirs: by the checkpoint's hash, or the key of one in it."""
    found, learnt = store.meta.generator, info.generator
    if found.get("sha256") is None or learnt.get("sha256") is None:
        return
    for key in ("sha256", "key"):
        if found.get(key) != learnt.get(key):
            raise UsageError(
                f"{store.location}: its generator's {key} is {_begin(found.get(key))}, the interpreter "
                f"{judged.folder} was trained on one with {_begin(learnt.get(key))}; extract the images with "
                "that checkpoint"
            )


def _check_members(judged: Judged, store: FeatureStore) -> tuple[str, ...]:
    """The same for a release's members, which say how many features and outputs they have and no more."""
    meta, ensemble, where = store.meta, judged.ensemble, store.location
    if meta.keypoints is not None:
        raise UsageError(
            f"{where}: holds keypoints, {judged.folder} a release's members, which know classes; pass a "
            "store of masks"
        )
    if meta.channels != ensemble.channels or ensemble.num_classes > len(meta.classes):
        raise UsageError(
            f"{where}: has {meta.channels} features a pixel and {count(len(meta.classes), 'class')}, the "
            f"members in {judged.folder} take {ensemble.channels} and give {ensemble.num_classes}; expected "
            "as many features, and no fewer classes"
        )
    return (
        f"{judged.folder}: a release's members do not say which generator, layers and classes they have "
        f"learnt; those of {where} are taken",
    )


def _features_text(source: InterpreterInfo | FeatureMeta) -> str:
    height, width = source.grid
    return (
        f"{count(len(source.layers), 'layer')} with {source.channels} channels on a grid of {height} x "
        f"{width}, resized {source.upsample}"
    )


def _other_layer(info: InterpreterInfo, meta: FeatureMeta) -> str:
    """Words on the first layer that is another one; none where the grids or the numbers of layers differ."""
    if info.grid != meta.grid or len(info.layers) != len(meta.layers):
        return ""
    for place, (learnt, found) in enumerate(zip(info.layers, meta.layers, strict=True)):
        if learnt != found:
            return f" (layer {place} is {_layer_text(found)} here and {_layer_text(learnt)} there)"
    return ""


def _layer_text(layer: LayerInfo) -> str:
    height, width = layer.resolution
    return f"{short(layer.name)} of {height} x {width} with {count(layer.channels, 'channel')}"


def _begin(value: object) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 12 else short(value)
