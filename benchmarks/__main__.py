"""Runs every benchmark program, one at a time, with the sizes that ``docs/performance.md`` reports.

python -m benchmarks
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

PROGRAMS = {
    "codecs": ["--repeats", "3"],
    "face_size": ["--repeats", "3"],
    "sampler": ["--repeats", "3"],
    "released_procedure": ["--seeds", "1"],
}


def main() -> None:
    """The command line. Exit code 1 if a program fails; the others run all the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run every benchmark program.")
    parser.add_argument(
        "--quick", action="store_true", help="toy sizes: whether the programs run, not how fast"
    )
    options = parser.parse_args()
    failed = []
    for name, arguments in PROGRAMS.items():
        command = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if options.quick else arguments)]
        print(f"\n$ python {' '.join(command[1:])}", flush=True)
        start = time.perf_counter()
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        print(f"({time.perf_counter() - start:.0f} s)", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
