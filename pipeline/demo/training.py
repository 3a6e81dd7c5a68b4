"""Trains the demo generator: a small StyleGAN1 that reproduces the procedural faces, by plain regression.

    python -m pipeline.demo.training --steps 9000 --seed 0 --device auto --out stylegan1_demo_64.for_g_all.pt

Loss: L1, L1 of average-pooled images and a squared term; no discriminator. Noise weights are zero and stay
so: one latent is one image under every noise mode. It knows nothing of the stages; what it reached is written
as JSON beside the checkpoint. An interrupted run is taken up by running the same command again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.demo.regression import (
    TrainingPlan,
    base_rates,
    build,
    evaluate,
    generate,
    learning_rate_at,
    loss_of,
    parameter_groups,
    pixel_weights,
)
from pipeline.embedded.face import LATENT_SIZE
from pipeline.embedded.renderer import render
from pipeline.interpreter.folder import replace_file
from pipeline.models.stylegan1 import StyleGAN1


@dataclass
class Run:
    """A training run in progress: everything that decides its further course."""

    plan: TrainingPlan
    network: StyleGAN1
    optimizer: torch.optim.Adam
    average: dict[str, Tensor]
    """Exponential moving average of the weights: what is shipped."""
    draws: torch.Generator
    step: int = 0
    """Steps done."""
    train_loss: float = 0.0
    """Running mean of the loss."""
    seconds: float = 0.0

    def state(self) -> dict[str, object]:
        """What `resume` needs, as tensors and plain values."""
        kept = {"step": self.step, "train_loss": self.train_loss, "seconds": self.seconds}
        return kept | {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "draws": self.draws.get_state(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Take up where the run that saved `state` was."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.draws.set_state(state["draws"].cpu())
        self.step, self.train_loss = state["step"], state["train_loss"]
        self.seconds = state["seconds"]


def start(plan: TrainingPlan, device: torch.device) -> Run:
    """The run before its first step."""
    network = build(plan).to(device)
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.Adam(parameter_groups(network), betas=(0.9, 0.99))
    return Run(plan, network, optimizer, average, torch.Generator().manual_seed(plan.seed))


def advance(run: Run, device: torch.device) -> None:
    """One step: fresh latents, their exact images, one Adam update, the average moved along."""
    plan, network = run.plan, run.network
    for group, base in zip(run.optimizer.param_groups, base_rates(plan), strict=True):
        group["lr"] = base * learning_rate_at(run.step, plan.steps)
    latents = torch.randn(plan.batch_size, LATENT_SIZE, generator=run.draws).to(device)
    with torch.no_grad():
        targets, masks = render(latents, network.resolution)
    loss = loss_of(generate(network, latents), targets, pixel_weights(masks, plan.part_weight))
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    run.optimizer.step()
    run.train_loss += (loss.item() - run.train_loss) * max(0.02, 1.0 / (run.step + 1))
    decay = min(plan.ema_decay, (run.step + 1) / (run.step + 10))
    for name, tensor in network.state_dict().items():  # detached: no gradients to keep out
        run.average[name].lerp_(tensor, 1.0 - decay)
    run.step += 1


def train(
    plan: TrainingPlan, device: torch.device, out: Path, snapshot_seconds: float = 120.0
) -> dict[str, object]:
    """Run the plan. Now and then, and at the end, write the averaged weights to `out` and a record beside it.

    The same call again takes up an interrupted run of the same plan at its last snapshot.
    """
    run = start(plan, device)
    unfinished = out.with_suffix(".unfinished")
    if unfinished.exists():
        kept = torch.load(unfinished, map_location=device, weights_only=True)
        if kept["plan"] == asdict(plan):
            run.resume(kept)
    record: dict[str, object] = {}
    clock = saved = time.monotonic()
    while run.step < plan.steps:
        advance(run, device)
        now = time.monotonic()
        run.seconds, clock = run.seconds + now - clock, now
        if run.step % 50 == 0:
            print(f"step {run.step} loss {run.train_loss:.4f} {run.seconds:.0f} s", flush=True)
        if now - saved > snapshot_seconds or run.step == plan.steps:
            record = snapshot(run, device, out)
            replace_file(unfinished, lambda path: torch.save(run.state() | {"plan": asdict(plan)}, path))
            clock = saved = time.monotonic()
    unfinished.unlink(missing_ok=True)
    return record


def snapshot(run: Run, device: torch.device, out: Path) -> dict[str, object]:
    """Write the averaged weights to `out`, and beside it as JSON what they reach, which is also returned."""
    record = asdict(run.plan) | {"step": run.step, "train_loss": run.train_loss, "train_seconds": run.seconds}
    record |= evaluate(run.average, device) | {"torch": torch.__version__, "device": str(device)}
    weights = {name: tensor.cpu().contiguous() for name, tensor in run.average.items()}
    replace_file(out, lambda path: torch.save(weights, path))
    text = json.dumps(record, indent=1) + "\n"
    replace_file(out.with_suffix(".json"), lambda path: path.write_text(text))
    print(text, flush=True)
    return record


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Train the demo generator to reproduce the procedural faces."
    )
    defaults = TrainingPlan()
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda[:i]")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument(
        "--out", type=Path, required=True, help="checkpoint to write; its record goes beside it"
    )
    options = parser.parse_args()
    if options.steps < 1 or options.batch_size < 1:
        parser.error(
            f"got --steps {options.steps} and --batch-size {options.batch_size}, expected at least 1"
        )
    if options.threads:
        torch.set_num_threads(options.threads)
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    plan = TrainingPlan(
        steps=options.steps,
        seed=options.seed,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
    )
    train(plan, torch.device(name), options.out)


if __name__ == "__main__":
    main()
