"""The Frechet inception distance: left out with a reason, and what is given to the library."""

from __future__ import annotations

import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from support.translators import CPU, log_of, trained, write_domains

from pipeline.translate.training import fid


class Library:
    """Stands for torchmetrics' class: notes what it is given, and gives a difference of means."""

    def __init__(self, feature_extractor_weights_path: str) -> None:
        assert Path(feature_extractor_weights_path).is_file()
        self.given: dict[bool, list[torch.Tensor]] = {True: [], False: []}

    def to(self, device: torch.device) -> Library:
        return self

    def update(self, images: torch.Tensor, real: bool) -> None:
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 16, 16)
        self.given[real].append(images)

    def compute(self) -> torch.Tensor:
        means = [torch.cat(self.given[real]).float().mean() for real in (True, False)]
        return (means[0] - means[1]).abs()


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Libraries that can be found, without the weights. Returns where these belong."""
    for name in (*fid.LIBRARIES, "torchmetrics.image", "torchmetrics.image.fid"):
        module = ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["torchmetrics.image.fid"].FrechetInceptionDistance = Library  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return fid.weights_file()


def test_without_the_weights_it_is_left_out_and_nothing_is_downloaded(library: Path) -> None:
    assert fid.left_out() == f"FID is left out: {library} is not there, and nothing is downloaded"
    assert not library.parent.exists()


def test_without_a_library_it_is_left_out_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fid, "LIBRARIES", ("no_such_library",))
    assert fid.left_out() == (
        "FID is left out: no_such_library not installed (pip install torchmetrics[image])"
    )


def test_images_go_to_the_library_as_bytes_of_either_kind(library: Path) -> None:
    library.parent.mkdir(parents=True)
    library.touch()
    assert fid.left_out() is None
    white, grey = torch.ones(2, 3, 16, 16), torch.zeros(3, 3, 16, 16)
    assert fid.frechet_distance([white], [grey, grey], CPU) == 255 - 128


def test_the_last_epoch_has_the_distances_of_both_directions(library: Path, tmp_path: Path) -> None:
    library.parent.mkdir(parents=True)
    library.touch()
    lines = trained(write_domains(tmp_path / "data", num=3), tmp_path / "t")
    first, last = log_of(tmp_path / "t")
    assert "fid" not in first and set(last["fid"]) == {"source_to_target", "target_to_source"}
    figure = f"FID source to target {last['fid']['source_to_target']:.1f}"
    assert lines[1].startswith(figure) and lines[1].endswith("which says little of 2 images")
