"""How long `dgan --help` takes, beside a Python that does nothing and one that imports torch.

python -m benchmarks.startup
"""

from __future__ import annotations

import argparse
import sys
from statistics import median

from benchmarks.measure import DGAN, machine, print_table, run_child

WAYS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "dgan --help": [*DGAN, "--help"],
    "dgan train --help": [*DGAN, "train", "--help"],
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Seconds that a command's help takes.")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="one run")
    options = parser.parse_args(arguments)
    print(machine())
    spans: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(1 if options.quick else options.repeats):
        for name, command in WAYS.items():
            spans[name].append(run_child(command).seconds)
    rows = [[name, f"{median(s):.2f}", f"{min(s):.2f} to {max(s):.2f}"] for name, s in spans.items()]
    print_table("Starting up", ["command", "median s", "range"], rows)


if __name__ == "__main__":
    main()
