"""Files of ``torch.save`` by other programs: which are read, and which would take more memory than they have
bytes.
"""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

import pytest
import torch
from support.places import REPOSITORY

from pipeline.machine.torch_files import PackedError, load_plain, wrong_checksum


def write_packed(path: Path, content: object) -> None:
    """The file of ``torch.save`` with all its entries compressed, which torch reads."""
    plain = path.with_suffix(".plain")
    torch.save(content, plain)
    with zipfile.ZipFile(plain) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry))
    plain.unlink()


@pytest.mark.parametrize("is_zip", [True, False])
def test_plain_tensors_of_either_container_are_read(tmp_path: Path, is_zip: bool) -> None:
    torch.save({"a": torch.arange(5)}, tmp_path / "f.pt", _use_new_zipfile_serialization=is_zip)
    assert load_plain(tmp_path / "f.pt")["a"].tolist() == [0, 1, 2, 3, 4]


def test_a_zip_that_unfolds_to_more_than_it_is_is_not_read(tmp_path: Path) -> None:
    write_packed(tmp_path / "f.pt", torch.zeros(100_000))
    with pytest.raises(PackedError, match=r"larger than the file \(400,.* torch.save never compresses"):
        load_plain(tmp_path / "f.pt")
    with (tmp_path / "f.pt").open("rb") as file, pytest.raises(PackedError):
        wrong_checksum(file)


def test_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    torch.save(torch.zeros(1000), tmp_path / "f.pt")
    content = bytearray((tmp_path / "f.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "f.pt").write_bytes(content)
    with (tmp_path / "f.pt").open("rb") as file:
        assert wrong_checksum(file) == "f/data/0"


def test_torch_reads_a_file_only_behind_a_check_of_what_it_unfolds_to() -> None:
    """`load_plain` has it, as has what a run saved for itself; the demo trains from its own file."""
    found = set()
    for path in (REPOSITORY / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.jit.load"):
                found.add(path.relative_to(REPOSITORY / "pipeline").as_posix())
    assert found == {"machine/torch_files.py", "resumable/saved_tensors.py", "demo/training.py"}
