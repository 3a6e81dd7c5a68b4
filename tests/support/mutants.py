"""A command on a file that was changed at random, held to what every command must keep to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from support.commands import dgan
from support.confined import confined
from support.fuzzing import check_end, limited
from support.mutations import mutate


def check_mutant(
    folder: Path,
    file: Path,
    words: Sequence[str],
    chance: random.Random,
    note: Callable[[str], None],
    before: Callable[[], None] = lambda: None,
) -> None:
    """Change ``file`` of the current ``folder``, call ``before``, and run ``dgan WORDS``.

    It ends in a line and in good time, opens nothing outside and asks for no memory that only the file
    claims. ``note`` gets what it came to. A failure prints the file.
    """
    mutate(folder / file, chance)
    mutant = (folder / file).read_bytes()
    try:
        before()
        with limited(), confined(folder):
            result = dgan(*words)
        assert "out of memory" not in result.output
        note(check_end(result))
    except BaseException:
        print(f"{file} after a change, and then dgan {' '.join(words)}: {mutant[:3000]!r}")
        raise
