"""With how many threads an image is rendered, and how many images at once. It renders nothing itself.

On a CPU an image that is rendered by itself has one thread, also where no other one is rendered at the same
time: with another number of threads a network's output would change by a rounding. Two images by a thread
each also take less time than one after the other by two threads, which wait for each other after each
operation.
"""

from __future__ import annotations

import torch

MOST_AT_ONCE = 3  # each takes 0.6 GiB at 1024 px


def renders_on_one_thread(device: torch.device, render_batch: int) -> bool:
    """Whether each image is rendered by one thread. A batch that is rendered in one pass has all of them."""
    return device.type == "cpu" and render_batch == 1


def renders_at_once(device: torch.device, render_batch: int) -> int:
    """How many images, or batches of them, are best rendered at once with torch's number of threads."""
    return min(MOST_AT_ONCE, torch.get_num_threads()) if renders_on_one_thread(device, render_batch) else 1
