"""What `dgan inspect-checkpoint` says of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from support.generator_files import Sizes, random_tensors, write_ada

from pipeline.checkpoints.read import read_generator
from pipeline.checkpoints.summary import summary_lines
from pipeline.cli import main
from pipeline.models.stylegan1 import StyleGAN1


def test_a_conditional_generator_is_described_without_a_label(tmp_path: Path) -> None:
    sizes = Sizes(widths=(6, 5), z_size=7, w_size=8, classes=3)
    tensors = random_tensors(sizes)
    path = write_ada(tmp_path / "g.pkl", tensors, sizes)
    lines = summary_lines(read_generator(path))
    facts = dict(line.split(":", 1) for line in lines[:12])
    assert {name: value.strip() for name, value in facts.items()} == {
        "file": str(path),
        "format": "StyleGAN2-ADA pickle, G_ema",
        "architecture": "stylegan2",
        "resolution": "8 x 8 pixels",
        "latent size": "7 in Z, 8 in W",
        "W+ rows": "4",
        "classes": "3, choose one with --class-label 0 to 2",
        "image": "RGB",
        "average latent": f"in the file, norm {float(tensors['mapping.w_avg'].norm()):.3f}",
        "constant noise": "in the file",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "feature width": "22 channels in 4 layers",
    }
    assert [line.split() for line in lines[12:]] == [
        ["0", "b4_const", "4", "x", "4", "6", "channels"],
        ["1", "b4_conv1", "4", "x", "4", "6", "channels"],
        ["2", "b8_conv0", "8", "x", "8", "5", "channels"],
        ["3", "b8_conv1", "8", "x", "8", "5", "channels"],
    ]


@pytest.mark.parametrize("noise", [True, False])
def test_what_the_file_lacks_is_said(tmp_path: Path, noise: bool) -> None:
    sizes = Sizes(noise=noise)
    tensors = {name: tensor for name, tensor in random_tensors(sizes).items() if name != "mapping.w_avg"}
    text = "\n".join(summary_lines(read_generator(write_ada(tmp_path / "g.pkl", tensors, sizes))))
    assert "average latent: not in the file" in text
    assert ("constant noise: in the file" if noise else "the generator takes no noise") in text


def test_the_command_prints_it(tmp_path: Path) -> None:
    torch.save(StyleGAN1((4, 4), 8).state_dict(), tmp_path / "g.pt")
    result = CliRunner().invoke(main, ["inspect-checkpoint", str(tmp_path / "g.pt")])
    assert result.exit_code == 0
    assert "StyleGAN1 state dict" in result.output and "18, of which the first 4 are read" in result.output
    assert "not in the file; seeded by --noise-seed" in result.output


def test_a_file_that_is_no_checkpoint_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "g.pt").write_bytes(b"<html>not found</html>")
    result = CliRunner().invoke(main, ["inspect-checkpoint", str(tmp_path / "g.pt")])
    assert result.exit_code == 2
    assert "web page" in result.output and len(result.output.splitlines()) == 1
