"""A system's files about control groups, as the kernel shows them to a process."""

from __future__ import annotations

from pathlib import Path


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A system in ``root`` whose process is in ``groups``, with ``files`` below sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
