"""``kill -9`` at a random change to files, once or more, then the same command: the bytes of an undisturbed
run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.fault_cases import drawn, named
from support.fault_commands import NAMES, QUICK, Workshop
from support.fault_table import SURVIVED


@pytest.mark.parametrize(("name", "number"), named(NAMES, QUICK, 6))
def test_a_command_killed_at_random_ends_in_the_same_bytes(
    workshop: Workshop, tmp_path: Path, name: str, number: int, note: Callable[[str], None]
) -> None:
    command, random = workshop.command(name), drawn(name, number)
    for _ in range(random.randint(1, 3)):
        command.run_until(random.randint(1, max(1, command.changes // 3)), tmp_path)
    command.run(tmp_path)
    assert command.is_whole(tmp_path)
    note(SURVIVED)
