"""DatasetGAN as a pipeline: its stages as functions, and the command line.

    import pipeline

    pipeline.extract_features(checkpoint="network.pkl", latents="latents.npy", annotations="masks")
    pipeline.train(members=10)
    dataset = pipeline.synthesize(checkpoint="network.pkl", num=10_000, keep=0.9)

The functions are loaded when they are first asked for, because ``import pipeline`` loads nothing heavy. Each
folder is a room; a room imports only rooms that stand below it in the table of
tests/project/test_layering.py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api.functions import calibrate as calibrate
    from pipeline.api.functions import evaluate as evaluate
    from pipeline.api.functions import export as export
    from pipeline.api.functions import extract_features as extract_features
    from pipeline.api.functions import filter as filter
    from pipeline.api.functions import report as report
    from pipeline.api.functions import sample as sample
    from pipeline.api.functions import segment_predict as segment_predict
    from pipeline.api.functions import segment_test as segment_test
    from pipeline.api.functions import segment_train as segment_train
    from pipeline.api.functions import synthesize as synthesize
    from pipeline.api.functions import train as train
    from pipeline.api.functions import translate_apply as translate_apply
    from pipeline.api.functions import translate_train as translate_train
    from pipeline.api.functions import view as view
    from pipeline.errors import RunError as RunError
    from pipeline.errors import UsageError as UsageError

_LAZY = {
    "extract_features": "api.functions",
    "train": "api.functions",
    "synthesize": "api.functions",
    "sample": "api.functions",
    "filter": "api.functions",
    "export": "api.functions",
    "report": "api.functions",
    "view": "api.functions",
    "evaluate": "api.functions",
    "calibrate": "api.functions",
    "segment_train": "api.functions",
    "segment_test": "api.functions",
    "segment_predict": "api.functions",
    "translate_train": "api.functions",
    "translate_apply": "api.functions",
    "UsageError": "errors",
    "RunError": "errors",
}

__all__ = [name for name in _LAZY if name != "filter"]  # `import *` must not hide Python's own


def __getattr__(name: str) -> Any:
    """Load a name of `_LAZY` when it is first asked for."""
    if name in _LAZY:
        return getattr(importlib.import_module(f"pipeline.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
