"""Says what the shape of an array means as latents: which axes count images, and which count rows of W+.

Programs save one latent as (D,), (1, D) or (1, 1, D), and many as (N, D), (N, 1, D) or (N, 1, L, D). Here is
the one rule that takes axes of length 1 away where this leaves one meaning. It knows shapes, and no files.
"""

from __future__ import annotations

LARGEST_W_PLUS = 18
"""Rows of the W+ latents that the released programs save, whatever the resolution."""


def latents_shape(
    shape: tuple[int, ...], space: str | None, min_rows: int
) -> tuple[tuple[int, ...], str | None]:
    """What N latents in an array of `shape` [..., D] are: their shape without axes of length 1, and their
    space.

    The shape is (N, D), of space "z", "w" or None, which is either of these; or (N, L, D), of space "w+".
    `space` is what is known, None for nothing; `min_rows` is the least L that the generator takes, 2 or more.

    =======================  ==========  ==================================
    `shape`                  `space`     result
    =======================  ==========  ==================================
    (D,), (1, D), (1, 1, D)  z, w, None  (1, D)
    (..., D, 1)              any         as (..., D)
    (M, D), (M, 1, D)        z, w, None  (M, D)
    (M, D), (M, 1, D)        w+          (1, M, D), if M can count rows
    (1, M, D)                z, w        (M, D)
    (1, M, D)                w+, None    (1, M, D), if M can count rows
    (N, L, D), (N, 1, L, D)  w+, None    (N, L, D), if L >= `min_rows`
    =======================  ==========  ==================================

    M can count rows if `min_rows` <= M <= the larger of 18 and `min_rows`. Raises ValueError, whose text says
    why, where a shape has no meaning or several.
    """
    *leading, latent_size = _without_columns(shape)
    sides = [side for side in leading if side != 1]
    if 0 in shape:
        raise ValueError("expected at least one latent")
    if len(sides) > 2:
        raise ValueError("it has too many axes")
    if len(sides) == 2:
        return _rows((sides[0], sides[1], latent_size), space, min_rows)
    count = sides[0] if sides else 1
    if space == "w+":
        return _rows((1, count, latent_size), space, min_rows)
    if space is None and sides and leading[0] == 1:  # an axis of images stands before the one of M
        if leading[-1] == count and min_rows <= count <= max(min_rows, LARGEST_W_PLUS):
            return (1, count, latent_size), "w+"
        raise ValueError(
            f"it may hold {count} latents, or one of {count} rows in W+, and the checkpoint takes {min_rows} "
            "rows; pass --latent-space z, w or w+"
        )
    return (count, latent_size), space


def _rows(shape: tuple[int, int, int], space: str | None, min_rows: int) -> tuple[tuple[int, ...], str]:
    if space in ("z", "w"):
        raise ValueError(f"it has an axis of rows, as W+ has, and the space is {space!r}")
    if shape[1] < min_rows:
        raise ValueError(f"W+ latents have {shape[1]} layers; the checkpoint needs at least {min_rows}")
    return shape, "w+"


def one_latent_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an array that holds one latent: (D,), or (L, D) of a row a layer.

    Axes of length 1 are taken away: (1, D), (1, 1, D), (1, L, D), (L, 1, D) and (D, 1) are read as well.
    Raises ValueError, whose text says why, where there are several latents or none.
    """
    *leading, latent_size = _without_columns(shape) or (0,)
    sides = [side for side in leading if side != 1]
    if 0 in (*sides, latent_size):
        raise ValueError("it is empty")
    if len(sides) > 1:
        raise ValueError("it holds several latents")
    return (*sides, latent_size)


def _without_columns(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without axes of length 1 at its end, which column vectors have; no latent has one entry."""
    last = max((place for place, side in enumerate(shape) if side != 1), default=len(shape) - 1)
    return shape[: last + 1]
