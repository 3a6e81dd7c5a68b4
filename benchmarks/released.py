"""DatasetGAN's released training and labelling, written anew as plainly as it can be, on the demo.

    python -m benchmarks.released labels.npy

Every pixel's feature, resized whole, lies in one float16 array in RAM, then once more as float32. One
classifier after another is trained on batches of 64 single pixels from a DataLoader: Adam 1e-3, linear
weights N(0, 0.02). From the fifth epoch on training stops once 51 batches running have not bettered the
lowest batch loss, after 100 epochs at most, and the last weights are kept. Labels are the majority vote
(Zhang et al., CVPR 2021, and the behaviour of the released code). It knows no store;
`benchmarks.released_procedure` compares it with dgan.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pipeline.rendering.renderer import Renderer

BATCH_SIZE = 64
PATIENT_EPOCHS = 4  # the rule looks at batches from the fifth epoch on
PATIENT_BATCHES = 50
MAX_EPOCHS = 100
SIDE = 64
FRESH_SEED = 0


class PixelDataset:
    """Single pixels as a DataLoader asks for them: one feature vector and its label an index."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        self.features, self.labels = features, labels

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.features[index], self.labels[index]

    def __len__(self) -> int:
        return len(self.features)


def stops(loss: float, best: float, failures: int) -> tuple[float, int, bool]:
    """The rule for one batch: the lowest loss so far, batches since it was reached, whether to stop."""
    if loss < best:
        return loss, 0, False
    return best, failures + 1, failures + 1 > PATIENT_BATCHES


def classifier(channels: int, num_classes: int, widths: tuple[int, int] | None = None) -> nn.Sequential:
    """One member, as published but for ``widths``; batch normalisations keep torch's initial values."""
    from torch import nn

    h1, h2 = widths or ((128, 32) if num_classes < 32 else (256, 128))
    member = nn.Sequential(
        nn.Linear(channels, h1),
        nn.ReLU(),
        nn.BatchNorm1d(h1),
        nn.Linear(h1, h2),
        nn.ReLU(),
        nn.BatchNorm1d(h2),
        nn.Linear(h2, num_classes),
    )
    for layer in member:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.02)
            nn.init.zeros_(layer.bias)
    return member


def train_member(
    features: Tensor, labels: Tensor, num_classes: int, max_epochs: int = MAX_EPOCHS
) -> tuple[nn.Module, int]:
    """One classifier, trained until the rule says so; returns it and its steps."""
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader

    loader = DataLoader(PixelDataset(features, labels), batch_size=BATCH_SIZE, shuffle=True)  # type: ignore[arg-type, var-annotated]
    member = classifier(features.shape[1], num_classes).train()
    adam = torch.optim.Adam(member.parameters(), lr=1e-3)
    best, failures, steps = float("inf"), 0, 0
    for epoch in range(max_epochs):
        for x, y in loader:
            adam.zero_grad()
            loss = cross_entropy(member(x), y)
            loss.backward()
            adam.step()
            steps += 1
            if epoch >= PATIENT_EPOCHS:
                best, failures, stop = stops(loss.item(), best, failures)
                if stop:
                    return member.eval(), steps
    return member.eval(), steps


def whole_features(renderer: Renderer, latents: np.ndarray, index: int) -> Tensor:
    """All pixels' features of one latent, each map resized whole: [H * W, C] float32."""
    import torch
    from torch.nn.functional import interpolate

    maps = renderer.render(latents[index : index + 1], "z", [index]).features
    whole = [
        interpolate(values, size=(SIDE, SIDE), mode="bilinear", align_corners=False)[0] for values in maps
    ]
    return torch.cat(whole).flatten(1).T.contiguous()  # [C, H, W] -> [H * W, C]


def demo_renderer(device: torch.device) -> Renderer:
    """As the demo configuration renders: truncation 1, constant noise of seed 0."""
    from pipeline.checkpoints.read import load_generator
    from pipeline.embedded import checkpoint_path
    from pipeline.rendering.renderer import Renderer, RenderSettings, computed_average_latent

    generator = load_generator(checkpoint_path()).generator
    layers = generator.default_truncation_layers
    settings = RenderSettings(1.0, min(layers, generator.num_w_layers), "const", 0, (SIDE, SIDE), (0, SIDE))
    return Renderer(generator, settings, computed_average_latent(generator), device)


def run(out: Path, *, members: int, num: int, images: int, seed: int, max_epochs: int) -> None:
    """The whole procedure in this process; labels (num, 64, 64) go to ``out``, times beside it."""
    import torch

    from pipeline.embedded import annotated_latents, class_names, exact_masks
    from pipeline.machine.random_streams import Purpose
    from pipeline.rendering.latents import seeded_latents

    torch.manual_seed(seed)
    num_classes = len(class_names())
    start = time.perf_counter()
    renderer = demo_renderer(torch.device("cpu"))
    latents = annotated_latents(images)
    channels = sum(layer.channels for layer in renderer.generator.layers)
    in_ram = np.zeros((images * SIDE * SIDE, channels), np.float16)
    for i in range(images):
        in_ram[i * SIDE * SIDE : (i + 1) * SIDE * SIDE] = whole_features(renderer, latents, i).numpy()
    features = torch.from_numpy(in_ram.astype(np.float32))  # the second copy, kept beside the first
    labels = torch.from_numpy(exact_masks(latents).reshape(-1).astype(np.int64))
    ready = time.perf_counter()
    trained = [train_member(features, labels, num_classes, max_epochs) for _ in range(members)]
    done = time.perf_counter()
    fresh = seeded_latents(Purpose.DATASET_LATENTS, FRESH_SEED, range(num), renderer.generator.latent_size)
    found = np.empty((num, SIDE * SIDE), np.uint8)
    with torch.inference_mode():
        for i in range(num):
            pixels = whole_features(renderer, fresh, i)
            votes = torch.stack([member(pixels).argmax(1) for member, _ in trained])  # [E, P]
            tally = torch.stack([(votes == k).sum(0) for k in range(num_classes)])  # [K, P]
            found[i] = tally.argmax(0).numpy()
    np.save(out, found.reshape(num, SIDE, SIDE))
    steps = [count for _, count in trained]
    end = time.perf_counter()
    record = {"features": ready - start, "train": done - ready, "label": end - done, "steps": steps}
    out.with_suffix(".json").write_text(json.dumps(record))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings that both programs have."""
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--num", type=int, default=200, help="fresh latents to label")
    parser.add_argument("--images", type=int, default=16, help="annotated latents to learn from")
    parser.add_argument("--max-epochs", type=int, default=MAX_EPOCHS, help="of the released procedure")


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="The released procedure on the demo's generator.")
    parser.add_argument("out", type=Path, help="labels, .npy; times go beside it, .json")
    parser.add_argument("--seed", type=int, default=0)
    add_arguments(parser)
    run(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
