"""Which workers a run asks for, what is refused before anything starts, and what makes a program the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from support.commands import dgan
from support.places import REPOSITORY

from pipeline.cluster.choice import ClusterChoice, choose_cluster
from pipeline.cluster.opening import gpus_of
from pipeline.cluster.program import difference, program, source_digest
from pipeline.errors import UsageError
from pipeline.settings.absolute_paths import with_absolute_paths
from pipeline.settings.schema import Config, FeaturesConfig, GeneratorConfig


def test_one_process_is_the_default_and_needs_no_package() -> None:
    assert choose_cluster(None, None, find=lambda name: None) is None


def test_workers_or_a_scheduler_are_asked_for_with_threads_and_device() -> None:
    found = choose_cluster(3, None, threads=2, device="cpu")
    assert found == ClusterChoice(3, None, 2, "cpu")
    assert choose_cluster(None, "s.json") == ClusterChoice(None, "s.json")


def test_both_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="leave one of them out"):
        choose_cluster(2, "tcp://host:8786")


@pytest.mark.parametrize(("workers", "flag"), [(2, "--workers"), (None, "--scheduler")])
@pytest.mark.parametrize("missing", ["distributed", "cryptography"])
def test_a_missing_package_is_one_line_with_what_to_install(
    workers: int | None, flag: str, missing: str
) -> None:
    scheduler = None if workers else "tcp://host:1"
    with pytest.raises(UsageError) as caught:
        choose_cluster(workers, scheduler, find=lambda name: None if name == missing else name)
    assert str(caught.value) == f"{flag} needs the package {missing}; run pip install 'dgan[cluster]'"


@pytest.mark.parametrize("command", ["extract-features", "synthesize"])
def test_commands_refuse_both_flags_and_a_number_below_one(command: str) -> None:
    both = dgan(command, "--workers", 2, "--scheduler", "tcp://host:8786")
    assert both.exit_code == 2 and both.stderr.count("\n") == 1
    assert dgan(command, "--workers", 0).exit_code == 2


def test_a_gpu_each_or_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus_of(2, "auto") == ["0", "1"]
    assert gpus_of(2, "cpu") is None
    with pytest.raises(UsageError, match="--workers is 4, torch sees 3 GPUs"):
        gpus_of(4, "cuda")
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES"):
        gpus_of(2, "cuda:1")


def test_gpus_are_those_that_the_user_has_made_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-8a")
    assert gpus_of(2, "cuda") == ["5", "GPU-8a"]


def test_without_a_gpu_auto_means_none_and_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpus_of(2, "auto") is None
    with pytest.raises(UsageError, match="torch sees 0 GPUs"):
        gpus_of(1, "cuda")


def test_a_program_is_the_same_as_itself_and_differs_by_any_version() -> None:
    here = program()
    assert difference(here, here) is None
    for name in here:
        assert f"{name} is other there, expected {here[name]}" in str(
            difference({**here, name: "other"}, here)
        )
        without = {key: value for key, value in here.items() if key != name}
        assert str(difference(without, here)).startswith(f"{name} is unknown there")


def test_the_sources_tell_two_checkouts_of_one_version_apart(tmp_path: Path) -> None:
    for package in ("fstore", "pipeline"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("*.pyc"))
    assert source_digest(tmp_path) == source_digest(REPOSITORY)
    module = tmp_path / "pipeline" / "errors.py"
    module.write_text(module.read_text() + "\n")
    assert source_digest(tmp_path) != source_digest(REPOSITORY)


def test_paths_of_a_configuration_become_absolute_and_urls_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config(
        generator=GeneratorConfig(checkpoint=Path("a/../g.pt")),
        features=FeaturesConfig(store="s3://b/f.zarr"),
    )
    found = with_absolute_paths(config)
    assert found.generator.checkpoint == tmp_path / "g.pt"
    assert found.features.store == "s3://b/f.zarr"
    assert found.synthesize.store == str(tmp_path / "dataset.zarr")
    assert found.latents == config.latents and found.train.members == config.train.members
    assert with_absolute_paths(found) == found
