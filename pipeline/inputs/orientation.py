"""Images as annotation tools show them: turned and mirrored as their EXIF orientation says.

Cameras, and editors that keep what cameras write, store an image in one way and say in EXIF how to show it.
LabelMe, CVAT and Label Studio show it so, and what is drawn on it counts in the pixels that are shown.
"""

from __future__ import annotations

from PIL import Image, ImageOps

_ORIENTATION = 0x0112  # EXIF 2.32, section 4.6.4: 1 is upright, 5 to 8 swap rows and columns


def upright(image: Image.Image) -> Image.Image:
    """The image as it is shown. It is the same image where it is stored upright."""
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) as shown, from the header alone."""
    swapped = _orientation(image) in (5, 6, 7, 8)
    return (image.width, image.height) if swapped else (image.height, image.width)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises many kinds for damaged EXIF, which is as good as none
        return 1
    return found if found in range(1, 9) else 1
