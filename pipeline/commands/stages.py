"""The commands of the three stages: each parses, builds a configuration and calls its stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.commands.errors import report_errors
from pipeline.commands.options import (
    KEY,
    echo_lines,
    load_run_config,
    note,
    rendering_options,
    stage_options,
    take,
    target_device,
)


@click.command("extract-features")
@rendering_options
@click.option(
    "--latents",
    type=click.Path(path_type=Path),
    help="(N, D) of Z or W, (N, L, D) of W+, or a dict of pictures' names: .npy, .npz, .pt, or a folder.",
)
@click.option("--seeds", help="Instead of --latents: Z of RandomState(seed), as 0-15 or 3,7,20-29.")
@click.option("--latent-space", help="z, w or w+; default by the shape: Z, or W+ of three axes.")
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    help="Folder of masks (.npy, .png), PNGs a class or LabelMe files; a COCO .json; keypoints (.npy, .npz).",
)
@click.option("--annotation-format", help="auto, masks, color, binary, labelme or coco.  [default: auto]")
@click.option("--label-map", type=click.Path(path_type=Path), help="TOML: rename, merge and drop classes.")
@click.option("--overlap", help="Which of two shapes on a pixel wins: later or earlier.  [default: later]")
@click.option("--task", help="segmentation or keypoints.  [default: segmentation]")
@click.option("--sigma", type=float, help="Of keypoints' heat maps, pixels.  [default: resolution / 64]")
@click.option(
    "--image-zero",
    help="Which latent image 0 is: latent, mean (the average latent, not in the file), skip, auto.  "
    "[default: auto]",
)
@click.option(
    "--annotated-only/--all-latents", default=None, help="Leave out latents that have no annotation."
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="The annotated pictures, to compare with what is rendered.  [default: beside the masks]",
)
@click.option(
    "--check/--no-check", default=None, help="Compare the annotated pictures with what is rendered."
)
@click.option("--num-classes", type=int, help="Default: the largest label and 1.")
@click.option("--ignore", type=int, help="Label of pixels that count nowhere.")
@click.option("--min-pixels", type=int, help="Smaller classes of an image are dropped there.  [default: 30]")
@click.option("--small-classes", help="Where they go: background or ignore.  [default: background]")
@click.option("--layout", help="dense or pyramid (32x smaller).  [default: dense]")
@click.option("--layers", help="Feature layers by name, number or slice, as b8_out,3,4:-2.  [default: all]")
@click.option("--upsample", help="How maps are resized: bilinear or nearest.  [default: bilinear]")
@click.option("--store", help="[default: features.zarr]")
@stage_options
@report_errors
def extract_features(
    config_file: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    overwrite: bool,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Render annotated latents and write their per-pixel features to a Zarr store."""
    from pipeline.settings.files import with_overrides

    config = load_run_config(config_file, flags["checkpoint"])
    generator = ("checkpoint", "average_latent", "truncation", "truncation_layers", "noise", "noise_seed")
    config = with_overrides(config, "generator", **take(flags, (*generator, "class_label", "key")))
    renamed = {"file": flags.pop("latents"), "space": flags.pop("latent_space")}
    config = with_overrides(
        config, "latents", **renamed, **take(flags, ("seeds", "image_zero", "annotated_only"))
    )
    renamed = {"folder": flags.pop("annotations"), "format": flags.pop("annotation_format")}
    annotations: tuple[str, ...] = ("num_classes", "ignore", "min_pixels", "small_classes")
    annotations += ("label_map", "overlap", "images", "check", "task", "sigma")
    config = with_overrides(config, "annotations", **renamed, **take(flags, annotations))
    config = with_overrides(config, "features", **flags)
    target = target_device(device, threads)

    from pipeline.stages.extract import stage as extract

    job = extract.prepare(config, overwrite=overwrite)
    if dry_run:
        echo_lines(extract.plan_lines(job, target, memory_budget))
        return
    line = extract.extract(job, target, overwrite=overwrite, memory_budget=memory_budget, say=note)
    click.echo(line)


@click.command("train")
@click.option("--store", help="Feature store.  [default: features.zarr]")
@click.option("--members", type=int, help="Classifiers in the ensemble.  [default: 10]")
@click.option("--steps", type=int, help="Optimisation steps; default: until validation stops improving.")
@click.option("--batch-size", type=int, help="Pixels a member and step.  [default: 64]")
@click.option(
    "--balance",
    type=float,
    metavar="ALPHA",
    help="Class mix frequency^ALPHA: 1 natural, 0 balanced.  [default: 1, of keypoints 0.5]",
)
@click.option("--seed", type=int, help="[default: 0]")
@click.option("--precision", help="Of the large products: auto, float32 or bfloat16.  [default: auto]")
@click.option("--task", help="segmentation or keypoints; checked against the store's.")
@click.option("--sigma", type=float, help="Of keypoints' heat maps, pixels.  [default: the store's]")
@click.option(
    "--cache",
    metavar="SIZE",
    help="Hold a pyramid store in memory if it fits SIZE; none: not.  [default: auto]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: interpreter]")
@stage_options
@report_errors
def train(
    config_file: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    overwrite: bool,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Train the ensemble of pixel classifiers on a feature store."""
    from pipeline.settings.files import with_overrides

    store, task = flags.pop("store"), flags.pop("task")
    config = with_overrides(load_run_config(config_file, store), "train", **flags)
    config = with_overrides(config, "features", store=store)
    target = target_device(device, threads)

    from pipeline.stages.train import stage

    if dry_run:
        lines = stage.dry_run(
            config.features.store, config.train, device=target, memory_budget=memory_budget, task=task
        )
        echo_lines(lines)
        return
    stage.train(
        config.features.store,
        config.train,
        device=target,
        overwrite=overwrite,
        memory_budget=memory_budget,
        task=task,
        report=click.echo,
    )


@click.command("synthesize")
@click.option(
    "--interpreter", type=click.Path(path_type=Path), help="Folder that train wrote.  [default: interpreter]"
)
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="The generator that the interpreter was trained on."
)
@KEY
@click.option("--num", type=int, help="Images in all; a larger number continues a dataset.  [default: 1000]")
@click.option("--keep", help="Fraction of least uncertain images to keep.  [default: 0.9]")
@click.option("--seed", type=int, help="[default: 0]")
@click.option("--score", help="An image's uncertainty: top10, mean or sum.  [default: top10]")
@click.option("--render-batch", type=int, help="Images a forward pass; divides 64.  [default: 2]")
@click.option("--task", help="segmentation or keypoints; checked against the interpreter's.")
@click.option("--class-label", type=int, help="Class of a conditional generator.  [default: as extracted]")
@click.option("--precision", help="Of the labelling: auto, float32 or bfloat16.  [default: auto]")
@click.option("--tile", type=int, help="Grid rows labelled at once, a multiple of 8.  [default: by memory]")
@click.option("--store", help="[default: dataset.zarr]")
@click.option(
    "--force", is_flag=True, help="Label with another checkpoint than the interpreter was trained on."
)
@stage_options
@report_errors
def synthesize(
    config_file: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    overwrite: bool,
    dry_run: bool,
    force: bool,
    **flags: Any,
) -> None:
    """Generate labelled images, score each by the members' divergence, and filter the most uncertain."""
    from pipeline.settings.files import with_overrides

    config = load_run_config(config_file, flags["checkpoint"])
    config = with_overrides(config, "generator", **take(flags, ("checkpoint", "class_label", "key")))
    task = flags.pop("task")
    config = with_overrides(config, "synthesize", **flags)
    target = target_device(device, threads)

    from pipeline.stages.synthesize import stage

    job = stage.prepare(config, force=force, task=task)
    if dry_run:
        echo_lines(stage.plan_lines(job, target, memory_budget, overwrite=overwrite))
        return
    line = stage.synthesize(job, target, overwrite=overwrite, memory_budget=memory_budget, say=note)
    click.echo(line)
