"""Runs benchmark programs one at a time: those of the README's table, or all.

python -m benchmarks [--all]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from benchmarks.measure import SUMMARY, machine, print_table

TABLE = {
    "extraction": ["--repeats", "1", "--images", "4"],
    "sampler": ["--repeats", "1", "--plain"],
    "training": ["--repeats", "1", "--rates"],
    "labelling": ["--repeats", "1"],
    "released_procedure": ["--seeds", "1", "--num", "100"],
}
"""Of the README. One run of each, so that all take less than 20 minutes; ratios are of one turn."""
SAME_STORES = ("sampler", "training")
"""Programs that read the same two stores, which the first of them makes: that takes minutes."""
OTHERS = {
    "sampler": ["--repeats", "1"],  # these three with all that they measure, in place of the above
    "training": ["--repeats", "1"],
    "released_procedure": ["--seeds", "1"],
    "subspace": ["--seeds", "1", "--ways", "off,0.999"],
    "codecs": ["--repeats", "1"],
    "mixing": ["--seeds", "1"],
    "segmenters": ["--repeats", "3"],
    "export": ["--images", "600"],
    "loading": [],
    "segment_training": ["--images", "128"],
    "translation_loop": ["--images", "128"],
    "viewing": ["--num", "10000"],
    "report_page": ["--images", "1000", "--repeats", "1"],
    "true_size": [],
    "startup": [],
    "annotation_checks": [],
    "face_training": ["--ways", "auto", "--images", "4", "--steps", "2048"],
    "workers": ["--rounds", "1", "--num", "256", "--images", "4"],
}


def run(name: str, arguments: list[str]) -> bool:
    """Run one program; whether it succeeded."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    print(f"\n$ python {' '.join(command[1:])}", flush=True)
    start = time.perf_counter()
    succeeded = subprocess.run(command, check=False).returncode == 0
    print(f"({time.perf_counter() - start:.0f} s)", flush=True)
    return succeeded


def main() -> None:
    """The command line. Exit code 1 if a program fails; the others run all the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run benchmark programs.")
    parser.add_argument("--all", action="store_true", help="also those that are not of the README's table")
    parser.add_argument(
        "--quick", action="store_true", help="toy sizes: whether the programs run, not how fast"
    )
    options = parser.parse_args()
    failed = []
    with (
        tempfile.NamedTemporaryFile("r", suffix=".jsonl") as summary,
        tempfile.TemporaryDirectory(prefix="dgan-bench-") as stores,
    ):
        os.environ[SUMMARY] = summary.name
        programs = TABLE | OTHERS if options.all else TABLE
        for name, arguments in programs.items():
            words = ["--quick"] if options.quick else arguments
            place = ["--folder", stores] if name in SAME_STORES else []
            failed += [] if run(name, [*words, *place]) else [name]
        lines = [json.loads(line) for line in summary]
    print_table(machine(), ["what", "dgan", "baseline", "ratio"], lines)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
