"""What memory a process can still get: the machine's, or what the limits of its control groups leave."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.control_groups import system

from pipeline.machine.memory import available_host_bytes

MIB = 2**20
MACHINE = 8000 * MIB


def group(folder: str, limit: object, used: int, cache: int = 0) -> dict[str, str]:
    """The files of a version 2 group."""
    stat = f"anon {used - cache}\ninactive_file {cache}\n"
    files = {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": stat}
    return {f"{folder}/{name}": text for name, text in files.items()}


def old_group(folder: str, limit: int, used: int, cache: int = 0) -> dict[str, str]:
    """The files of a version 1 group."""
    stat = f"inactive_file 0\ntotal_inactive_file {cache}\n"
    files = {
        "memory.limit_in_bytes": f"{limit}\n",
        "memory.usage_in_bytes": f"{used}\n",
        "memory.stat": stat,
    }
    return {f"memory/{folder}/{name}": text for name, text in files.items()}


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {}, MACHINE),  # no control group at all
        ("", {}, MACHINE),
        ("0::/job\n", group("job", 3000 * MIB, 1000 * MIB), 2000 * MIB),
        ("0::/job\n", group("job", "max", 1000 * MIB), MACHINE),
        # the tightest of the group and those above it
        (
            "0::/slice/job\n",
            group("slice/job", 5000 * MIB, 500 * MIB) | group("slice", 2000 * MIB, 700 * MIB),
            1300 * MIB,
        ),
        ("0::/slice/job\n", group("slice", 2000 * MIB, 700 * MIB), 1300 * MIB),
        # in a container the group's own path is not there, and the mount is the container's group
        ("0::/docker/abc\n", group(".", 1500 * MIB, 500 * MIB), 1000 * MIB),
        # pages of files that were read are given back
        ("0::/job\n", group("job", 3000 * MIB, 2900 * MIB, 2000 * MIB), 2100 * MIB),
        ("0::/job\n", group("job", 1000 * MIB, 1001 * MIB), 0),
        ("4:memory:/job\n0::/\n", old_group("job", 2500 * MIB, 500 * MIB, 100 * MIB), 2100 * MIB),
        ("4:cpu,memory:/job\n", old_group(".", 2500 * MIB, 500 * MIB), 2000 * MIB),
        ("4:memory:/\n", old_group(".", 9223372036854771712, 500 * MIB), MACHINE),  # no limit, version 1
        ("9:cpu:/job\n", old_group("job", MIB, 0), MACHINE),  # a group that limits no memory
        ("damaged\n0::/job\n", group("job", "what", 0), MACHINE),
    ],
)
def test_the_least_of_the_machine_and_its_limits_is_available(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int
) -> None:
    root = system(tmp_path, groups, files)
    (root / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:  {MACHINE // 1024} kB\n")
    assert available_host_bytes(root) == expected


def test_a_system_that_does_not_say_has_all_its_memory(tmp_path: Path) -> None:
    assert available_host_bytes(tmp_path) >= available_host_bytes()
