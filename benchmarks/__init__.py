"""Programs that measure speed and memory beside a baseline and print a table.

    python -m benchmarks.<name>

They are not part of the installed package. ``docs/performance.md`` holds what they printed, and on which
machine.
"""
