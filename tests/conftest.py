"""What every test shares: repeatable examples, and as many threads as small tensors need."""

from __future__ import annotations

import torch
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
torch.set_num_threads(1)  # of two threads on a busy machine each waits for the other
