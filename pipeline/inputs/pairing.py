"""Says which latent belongs to which annotation, from their numbers alone.

The program that came with DatasetGAN renders image 0 from the average latent, and saves only the latents of
images 1, 2, and so on: its image i is row i - 1 of its latent file. For other programs image i is row i. This
module knows numbers. It does not know files, the values of latents, or generators.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import UsageError, count, few

MAX_LISTED = 6  # numbers in a message


@dataclass(frozen=True)
class Pairing:
    """Entry k says: the annotation of image ``annotations[k]`` belongs to row ``latents[k]`` of the latents,
    or, where that is None, to the average latent.

    reading: "latent", "mean" or "skip", as ``--image-zero`` has them. note: a line for people where the
    reading had to be guessed.
    """

    annotations: tuple[int, ...]
    latents: tuple[int | None, ...]
    reading: str
    note: str | None = None


def pair(
    annotations: Sequence[int],
    latents: Sequence[int],
    *,
    image_zero: str = "auto",
    annotated_only: bool = False,
    max_images: int | None = None,
    location: str = "annotations",
    names: Mapping[int, str] | None = None,
    hint: str | None = None,
    unread: Collection[int] = (),
) -> Pairing:
    """Pair ``annotations``, the numbers of annotated images, with ``latents``, the number of each latent row.

    ``image_zero``: "latent", image i is the latent numbered i; "mean", image 0 is the average latent and
    image i the latent numbered i - 1; "skip", the same with image 0 left out; "auto", whichever of them gives
    every latent one annotation. With ``annotated_only`` latents without an annotation are left out, and
    ``max_images`` leaves out images from that number on, with their latents. Raises UsageError, one line
    beginning with ``location``, where annotations are missing, surplus or numbered otherwise; ``names`` are
    the annotations' names in it, by number, and ``hint`` goes with what is missing; ``unread`` are numbers of
    annotations that are there and were not read, so that leaving them out is not the way.
    """
    below = max_images if max_images is not None else max([*annotations, *latents], default=0) + 2
    found = sorted(number for number in set(annotations) if number < below)
    if not found:
        limit = "" if max_images is None else f" below max_images, {max_images}"
        raise UsageError(f"{location}: no annotation has a number{limit}; expected one for each latent")
    rows = {number: row for row, number in enumerate(latents)}
    readings = {name: _images(name, rows, below) for name in ("latent", "mean", "skip")}
    reading, note = image_zero, None
    if image_zero == "auto":
        by_position = _by_position(sorted(set(annotations)), found, latents, below)
        if by_position is not None:
            return by_position
        reading, note = _guess(found, readings, annotated_only, len(latents))
    if reading == "skip":
        found = [number for number in found if number > 0]
    images = readings[reading]
    if (
        not found
        or any(number not in images for number in found)
        or (len(found) < len(images) and not annotated_only)
    ):
        fault = _fault(found, images, reading, image_zero, len(latents), names or {}, unread)
        hint = f"; {hint}" if hint and not set(images) <= set(found) else ""
        raise UsageError(f"{location}: {fault}{hint}")
    if note is None and image_zero == "auto" and len(latents) > len(found):
        note = (
            f"image i is taken as latent i, of {count(len(latents), 'latent')}; if image 0 is the average "
            f"latent, "
            "which DatasetGAN's make_training_data leaves out of its latent file, pass --image-zero mean"
        )
    return Pairing(tuple(found), tuple(images[number] for number in found), reading, note)


def in_order(pairing: Pairing, first: Sequence[int]) -> Pairing:
    """The pairing with the images ``first`` (numbers) at its front, in that order, without those it lacks."""
    rows = dict(zip(pairing.annotations, pairing.latents, strict=True))
    front = [number for number in first if number in rows]
    numbers = (*front, *(number for number in pairing.annotations if number not in set(front)))
    return replace(pairing, annotations=numbers, latents=tuple(rows[number] for number in numbers))


def _images(reading: str, rows: dict[int, int], below: int) -> dict[int, int | None]:
    """Image number -> latent row under one reading, numbers from ``below`` on left out."""
    shift = 0 if reading == "latent" else 1
    images: dict[int, int | None] = {0: None} if reading == "mean" else {}
    images |= {number + shift: row for number, row in rows.items()}
    return {number: row for number, row in sorted(images.items()) if number < below}


def _by_position(
    annotated: list[int], found: list[int], latents: Sequence[int], below: int
) -> Pairing | None:
    """Annotations 0 to N - 1 with N latents of other numbers, as EditGAN's embeddings, which lack one number,
    or seeds: those ``found`` below the limit with as many latents, the first.

    Where all that are ``annotated`` agree with all latents, the limit changes no pair. Where they do not,
    only latents whose numbers are none of the images' are taken for the first so many.
    """
    rows = list(range(len(latents)))
    is_first = len(found) == below < len(rows) and min(latents) >= below
    if (annotated != rows and found != rows and not is_first) or set(latents) == set(rows):
        return None
    last = len(found) - 1
    return Pairing(
        tuple(found),
        tuple(rows[: len(found)]),
        "latent",
        f"annotations are numbered 0 to {last}, the {count(len(rows), 'latent')} "
        f"{few(latents, MAX_LISTED)}: paired in order, annotation {last} with latent {latents[last]}",
    )


def _guess(
    found: list[int], readings: dict[str, dict[int, int | None]], annotated_only: bool, num_latents: int
) -> tuple[str, str | None]:
    """The reading under which annotations and latents agree, and what to say of it; "latent" if none."""
    fitting = [name for name, images in readings.items() if found == list(images)]
    if annotated_only and not fitting:
        fitting = [name for name, images in readings.items() if set(found) <= set(images)]
    if "latent" in fitting:
        return "latent", None
    if "skip" in fitting:
        return "skip", (
            f"annotations are numbered from 1: image i is taken as row i - 1 of the "
            f"{count(num_latents, 'latent')}; "
            "to have it otherwise, pass --image-zero latent"
        )
    if "mean" in fitting:
        return "mean", (
            f"there is one annotation more than the {count(num_latents, 'latent')}: image 0 is taken as the "
            f"average "
            "latent and image i as row i - 1, as DatasetGAN's make_training_data writes them; to leave "
            "image 0 out, pass --image-zero skip"
        )
    return "latent", None


def _fault(
    found: list[int],
    images: dict[int, int | None],
    reading: str,
    image_zero: str,
    num_latents: int,
    names: Mapping[int, str],
    unread: Collection[int],
) -> str:
    """What is wrong with the annotations' numbers, what was expected, and the way out."""
    annotated = set(found)
    missing = [number for number in images if number not in annotated]
    surplus = [number for number in found if number not in images]
    expected = f"expected {_range(list(images))}" if images else "expected none"
    if reading != "latent":
        expected += f" with --image-zero {reading} and {count(num_latents, 'latent')}"
    if surplus and len(found) == len(images) and _consecutive(found) and _consecutive(list(images)):
        return (
            f"the annotations are numbered from {found[0]} to {found[-1]}; {expected}: rename them so that "
            "the number is the latent's row"
        )
    faults = []
    if missing:
        are = "is" if len(missing) == 1 else "are"
        faults.append(
            f"{len(missing)} of {count(len(images), 'annotation')} {are} missing: {few(missing, MAX_LISTED)}"
        )
    if surplus:
        shown = few([names.get(number, number) for number in surplus], MAX_LISTED)
        are = "is" if len(surplus) == 1 else "are"
        annotations, latents = count(len(surplus), "annotation"), count(num_latents, "latent")
        faults.append(f"{annotations} {are} surplus to the {latents}: {shown}")
    if set(missing) & set(unread):
        return f"{'; '.join(faults)}; {expected}, one for each latent"
    return f"{'; '.join(faults)}; {expected}{_way_out(found, missing, surplus, image_zero)}"


def _way_out(found: list[int], missing: list[int], surplus: list[int], image_zero: str) -> str:
    if surplus and not missing and image_zero == "auto":
        return ", one for each latent; check that latents and annotations belong together"
    if surplus:
        return ", one for each latent"
    if len(missing) == 1 and image_zero == "auto" and missing[0] == found[-1] + 1:
        return (
            f": if image i is latent i and image {missing[0]} was left unannotated, pass --annotated-only; "
            "if image 0 is the average latent, as DatasetGAN's make_training_data writes them, pass "
            "--annotated-only --image-zero mean"
        )
    return ", one for each latent; if those images were left unannotated, pass --annotated-only"


def _consecutive(numbers: list[int]) -> bool:
    return bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _range(numbers: list[int]) -> str:
    if len(numbers) > 1 and _consecutive(numbers):
        return f"{numbers[0]} to {numbers[-1]}"
    return few(numbers, MAX_LISTED)
