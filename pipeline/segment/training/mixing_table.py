"""What an experiment with photographs found: `mixing.json`, and the same as a table for the terminal.

It knows JSON values and files of scores. It trains and tests nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, count
from pipeline.evaluation.table import NONE, aligned, share_text
from pipeline.interpreter.folder import replace_file
from pipeline.machine.provenance import created_record
from pipeline.segment.testing.job import ScoringJob
from pipeline.segment.training.job import SegmentJob
from pipeline.settings.json_values import json_text, parse_object
from pipeline.settings.schema import REAL, SYNTHETIC

RESULTS = "mixing.json"
VERSION, KIND = 1, "mixing"
_COPIED = (
    *("miou", "miou_deviation", "released_miou", "released_miou_deviation"),
    *("pixel_accuracy", "pixel_accuracy_deviation"),
)
_COPIED_OF_CLASS = ("id", "name", "iou", "iou_deviation", "pixels")


def result_row(mix: str, job: SegmentJob, scores: Mapping[str, Any]) -> dict[str, Any]:
    """What one segmenter has learnt and scores, as JSON values."""
    return {
        "mix": mix,
        "folder": str(job.folder),
        "images": {name: record["num_images"] for name, record in job.info.data.items()},
        "epochs": job.info.epochs,
        "steps": job.info.epochs * job.plan.num_steps,
        "folds": len(scores["folds"]),
        **{key: scores[key] for key in _COPIED},
        "classes": [{key: entry[key] for key in _COPIED_OF_CLASS} for entry in scores["classes"]],
    }


def known_scores(scoring: ScoringJob) -> dict[str, Any] | None:
    """The scores of an earlier run, if they are of the same weights, photographs and folds; else None."""
    try:
        found = parse_object(scoring.out.read_bytes())
        weights, annotations = found["segmenter"]["weights_sha256"], found["annotations"]["sha256"]
        size, folds, images = found["image_size"], found["cross_validate"], found["images"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    segmenter, photographs = scoring.segmenter, scoring.photographs
    same = (
        annotations == photographs.record["sha256"]
        and images == len(photographs)
        and size == list(segmenter.image_size)
        and folds == scoring.folds
        and weights == {str(epoch): segmenter.weights_sha256(epoch) for epoch in scoring.epochs}
    )
    return found if same else None


def write_results(out: Path, tested: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write ``mixing.json``, whole or not at all, unless it says the same already; returns what it says.

    ``tested``: the names of the photographs that all are tested on.
    """
    results = {"version": VERSION, "kind": KIND, "tested": list(tested), "rows": [dict(row) for row in rows]}
    found = check_results(out)
    if found is not None and {key: found.get(key) for key in results} == results:
        return found
    results["created"] = created_record()
    text = json_text(results, 2)
    replace_file(out / RESULTS, partial(Path.write_text, data=text, encoding="utf-8"))
    return results


def check_results(out: Path) -> dict[str, Any] | None:
    """What ``mixing.json`` says; None where there is none. Raises UsageError for a file of another kind."""
    path = out / RESULTS
    try:
        found = parse_object(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except ValueError:
        found = {}
    if found.get("kind") != KIND:
        raise UsageError(
            f"{path}: is no file of `dgan segment train`, or is damaged; move it, or choose another --out"
        )
    return found


def table_lines(results: Mapping[str, Any], out: Path) -> list[str]:
    """A row a segmenter: what it has learnt, and its mIoU on the photographs that none has learnt."""
    rows = results["rows"]
    folds = rows[0]["folds"]
    how = f"mean and deviation over {folds} folds" if folds else "of the last epoch"
    titles = ("learnt from", "photographs", "synthetic images", "steps", "mIoU", *(["+-"] if folds else []))
    return [
        f"mIoU on {count(len(results['tested']), 'photograph')} that no segmenter has learnt, {how}",
        "",
        *aligned([titles, *(_cells(row, with_deviation=bool(folds)) for row in rows)]),
        "",
        f"{out / RESULTS}: the same by class",
    ]


def _cells(row: Mapping[str, Any], *, with_deviation: bool) -> tuple[str, ...]:
    images = row["images"]
    counts = (f"{images[name]:,}" if name in images else NONE for name in (REAL, SYNTHETIC))
    deviation = (share_text(row["miou_deviation"]),) if with_deviation else ()
    return (row["mix"], *counts, f"{row['steps']:,}", share_text(row["miou"]), *deviation)
