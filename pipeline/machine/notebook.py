"""A line in the output of a running Jupyter cell that changes in its place. It needs no widgets.

IPython is used where a kernel has loaded it already, and never imported otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4


def changing_line() -> Callable[[str], None] | None:
    """What shows a text in place of the text before, from any thread; None outside of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:  # a plain Python, or IPython in a terminal
        return None
    from IPython.display import display

    place, shown = uuid4().hex, False

    def show(text: str) -> None:
        nonlocal shown
        with suppress(Exception):  # the run goes on without its line, whatever has become of the notebook
            display({"text/plain": text}, raw=True, display_id=place, update=shown)
            shown = True

    return show
