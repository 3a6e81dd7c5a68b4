"""The baselines do what they stand for, on inputs of the published sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.mark.parametrize(("kind", "width"), [("face", 5088), ("car", 5056), ("cat", 4992)])
def test_official_widths_give_the_published_feature_widths(kind: str, width: int) -> None:
    from benchmarks.generators import KINDS, feature_width, official_widths

    assert feature_width(official_widths(KINDS[kind])) == width


def test_a_made_checkpoint_loads_as_a_generator_of_its_size(tmp_path: Path) -> None:
    from benchmarks.generators import make_checkpoint
    from pipeline.checkpoints.read import load_generator

    make_checkpoint(tmp_path / "g.for_g_all.pt", [8, 8, 4], latent_size=6)
    generator = load_generator(tmp_path / "g.for_g_all.pt").generator
    assert (generator.resolution, generator.latent_size) == (16, 6)


def test_a_mask_has_every_class_as_regions(tmp_path: Path) -> None:
    from benchmarks.generators import blob_mask

    mask = blob_mask(64, 10, seed=0)
    assert set(np.unique(mask)) == set(range(10))
    assert (mask[:, 1:] == mask[:, :-1]).mean() > 0.8


def test_the_memmap_work_around_writes_the_features_channels_last(tmp_path: Path) -> None:
    from benchmarks.memmap_features import write_features

    torch.manual_seed(0)
    maps = [torch.randn(1, 3, 4, 4), torch.randn(1, 2, 16, 16), torch.randn(1, 1, 8, 8)]
    write_features(tmp_path / "0.dat", maps, 8)
    found = np.fromfile(tmp_path / "0.dat", np.float16).reshape(8, 8, 6)
    resized = [torch.nn.functional.interpolate(m, size=(8, 8), mode="bilinear")[0] for m in maps]
    np.testing.assert_array_equal(found, torch.cat(resized).half().permute(1, 2, 0).numpy())


def test_the_released_labelling_is_votes_and_divergence_of_resized_features() -> None:
    from benchmarks.released_label import classifiers, label
    from pipeline.labelling.votes import js_divergence, vote
    from pipeline.models.interpreter import InterpreterEnsemble

    ensemble = InterpreterEnsemble(5, 5, seeds=[0, 1, 2], widths=(8, 6)).eval()
    with torch.no_grad():
        ensemble.weight3.mul_(100)
    members = classifiers(ensemble.export_members(), 3, torch.device("cpu"))
    maps = [torch.randn(1, 3, 4, 4), torch.randn(1, 2, 16, 16)]
    labels, divergence = label(maps, members, (16, 16), (2, 14))
    whole = [torch.nn.functional.interpolate(m, size=(16, 16), mode="bilinear")[0, :, 2:14] for m in maps]
    with torch.inference_mode():
        logits = ensemble.forward_shared(torch.cat(whole).flatten(1).T.contiguous())  # [E, P, K]
    assert torch.equal(labels.flatten(), vote(logits))
    torch.testing.assert_close(divergence.flatten(), js_divergence(logits.softmax(2)), rtol=0, atol=1e-5)


def test_released_rule_stops_after_51_batches_in_a_row_without_a_better_loss() -> None:
    from benchmarks.released import stops

    best, failures, checked = float("inf"), 0, 0
    for loss in [1.0, *[2.0] * 50, 0.5, *[0.5] * 60]:
        best, failures, stop = stops(loss, best, failures)
        checked += 1
        if stop:
            break
    assert (best, checked) == (0.5, 52 + 51)


def test_released_classifier_learns_and_ends_in_evaluation_mode() -> None:
    from benchmarks.released import train_member

    torch.manual_seed(0)
    labels = torch.arange(640) % 2
    features = torch.randn(640, 4) * 0.1 + labels[:, None]
    member, steps = train_member(features, labels, 2, max_epochs=30)
    assert 40 < steps <= 300
    assert not member.training
    assert (member(features).argmax(1) == labels).float().mean() > 0.95
