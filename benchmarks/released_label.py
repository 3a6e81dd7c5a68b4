"""DatasetGAN's released labelling of one image, written anew as plainly as it can be: the baseline (R).

    python -m benchmarks.released_label CHECKPOINT INTERPRETER OUT

Every feature map is resized to the whole grid, all of them lie in one float32 array, (C, H, W) and then
pixels first, and one classifier after another runs over all pixels: probabilities, entropy, argmax. Labels
are the mode, the score is the mean of the most uncertain tenth of the divergence (Zhang et al., CVPR 2021,
section 3.2, and the behaviour of the released code). Prints its seconds as JSON. The renderer is `dgan`'s.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Label images by the released procedure.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("interpreter", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--num", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    print(json.dumps(run(**vars(parser.parse_args(arguments)))))


def run(checkpoint: Path, interpreter: Path, out: Path, num: int, device: str) -> dict[str, list[float]]:
    """Seconds of each image's parts; labels (H, W), divergence and picture go to ``out`` as .npy files."""
    import torch

    from pipeline.checkpoints.read import load_generator
    from pipeline.interpreter.files import load_interpreter
    from pipeline.machine.device import select_device
    from pipeline.machine.random_streams import Purpose
    from pipeline.rendering.latents import seeded_latents
    from pipeline.rendering.renderer import Renderer, RenderSettings

    target = select_device(device)
    loaded = load_interpreter(interpreter)
    info = loaded.info
    generator = load_generator(checkpoint).generator
    settings = RenderSettings.from_record(info.generator, info.grid, info.crop_rows)
    assert loaded.average_latent is not None
    renderer = Renderer(generator, settings, loaded.average_latent, target)
    members = classifiers(loaded.ensemble.export_members(), info.members, target)
    out.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, list[float]] = {"render": [], "label": [], "write": []}
    for index in range(num):
        start = time.perf_counter()
        latents = seeded_latents(Purpose.DATASET_LATENTS, 0, [index], generator.latent_size)
        rendered = renderer.render(latents, "z", [index])
        if target.type == "cuda":
            torch.cuda.synchronize(target)
        ready = time.perf_counter()
        labels, divergence = label(rendered.features, members, info.grid, info.crop_rows)
        labels_on_host, divergence_on_host = labels.cpu().numpy(), divergence.cpu().numpy()
        done = time.perf_counter()
        np.save(out / f"image_{index}.npy", renderer.picture(rendered.images[0]))
        np.save(out / f"label_{index}.npy", labels_on_host.astype(np.uint8))
        np.save(out / f"js_{index}.npy", divergence_on_host)
        end = time.perf_counter()
        for part, span in zip(seconds, (ready - start, done - ready, end - done), strict=True):
            seconds[part].append(span)
    return seconds


def classifiers(tensors, num_members: int, device):  # type: ignore[no-untyped-def]
    """The members as modules of their own."""
    from benchmarks.released import classifier

    members = []
    for i in range(num_members):
        prefix = f"{i}.layers."
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        h1, channels = own["0.weight"].shape
        classes, h2 = own["6.weight"].shape
        member = classifier(channels, classes, (h1, h2))
        member.load_state_dict(own)
        members.append(member.eval().to(device))
    return members


def label(maps, members, grid: tuple[int, int], crop_rows: tuple[int, int]):  # type: ignore[no-untyped-def]
    """Labels and divergence [H, W] of one image's maps [1, c, h, w]."""
    import torch
    from torch.nn.functional import interpolate

    with torch.inference_mode():
        channels = sum(values.shape[1] for values in maps)
        features = torch.empty(channels, *grid, device=maps[0].device)
        first = 0
        for values in maps:
            last = first + values.shape[1]
            features[first:last] = interpolate(values, size=grid, mode="bilinear", align_corners=False)[0]
            first = last
        features = features[:, slice(*crop_rows)]
        height, width = features.shape[1:]
        pixels = features.reshape(channels, -1).T.contiguous()  # [P, C]
        del features
        votes, entropies, mean = [], [], torch.zeros(())
        for member in members:
            logits = member(pixels)  # [P, K]
            probability = logits.softmax(1)
            entropies.append(torch.distributions.Categorical(probs=probability).entropy())
            votes.append(logits.argmax(1))
            mean = mean + probability / len(members)
        total = torch.distributions.Categorical(probs=mean).entropy()
        divergence = total - torch.stack(entropies).mean(0)
        divergence.sort().values[int(height * width * 0.9) :].mean()  # the image's score
        labels = torch.stack(votes).mode(0).values
        return labels.view(height, width), divergence.view(height, width)


if __name__ == "__main__":
    main()
