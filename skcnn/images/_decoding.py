"""One image file → its pixels: upright, 8 bits a channel, in the mode and size asked for."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import stat
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

# What Pillow may take a file for: its other decoders are old, rare, or start other programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
CHANNELS = {"L": (), "RGB": (3,), "RGBA": (4,)}
# Pillow's own limit, above which it takes an image for a bomb: 0.25 GB of three bytes each.
MAX_PIXELS = 89_478_485
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap height and width
_TIFF_SIZE = (256, 257)  # tags of width and height
# JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as it stays this much larger than
# what it is then resized to.
_DRAFT_MARGIN = 2
# Of a block of memory this large, the C library gives back to the system what is freed. Of smaller
# ones it may keep all that a thread ever had, for this thread: an image for each of many.
_BLOCK_BYTES = 1 << 27

_pillow_limit = threading.Lock()


class _Room:
    """Room for images of so many pixels in all, or for a single larger one."""

    def __init__(self, n_pixels: int):
        self._size = n_pixels
        self.clear()

    def clear(self) -> None:
        """Let all room be free."""
        self._free = self._size
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def room_for(self, n_pixels: int) -> Iterator[None]:
        """Wait until there is room, and take it."""
        n_pixels = min(n_pixels, self._size)
        with self._changed:
            self._changed.wait_for(lambda: n_pixels <= self._free)
            self._free -= n_pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += n_pixels
                self._changed.notify_all()


# However many threads decode.
_decoded_at_once = _Room(MAX_PIXELS)
if hasattr(os, "register_at_fork"):  # a fork has Pillow's limit, and no thread that decodes
    os.register_at_fork(
        before=_pillow_limit.acquire,
        after_in_parent=_pillow_limit.release,
        after_in_child=_pillow_limit.release,
    )
    os.register_at_fork(after_in_child=_decoded_at_once.clear)


class Recipe(NamedTuple):
    """What becomes of every file of a collection."""

    mode: str  # a key of CHANNELS
    size: tuple[int, int]  # (H, W)
    resize: str | None  # "squash" or "crop"; None: the files are of that size
    crop_pct: float
    max_pixels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, (H, W) or (H, W, C)."""
        return (*self.size, *CHANNELS[self.mode])


class Header(NamedTuple):
    """What the beginning of a file says."""

    size: tuple[int, int]  # (H, W), once upright
    is_grey: bool


def read_stamp(path: str) -> tuple[int, int]:
    """Size of a file, and time of its last change in ns, by which another change is noticed.

    Raises
    ------
    OSError
        If there is none.
    ValueError
        If it is a folder, a pipe or the like, or is empty.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no file")
    if status.st_size == 0:
        raise ValueError("it is empty")
    return _stamp(status)


def read_header(path: str, max_pixels: int) -> Header:
    """Size and kind of the image in a file, of which only the beginning is read."""
    with _open_at_once(path) as file, _opened(file, max_pixels) as image:
        width, height = image.size
        if image.format == "TIFF":  # whose size is that of the upright image, in some versions
            width, height = (image.tag_v2[tag] for tag in _TIFF_SIZE)
        if _orientation(image) in _SIDEWAYS:
            width, height = height, width
        # Pillow reads grey of 16 bits with opacity as RGBA.
        is_grey = image.mode in ("1", "L", "LA") or image.mode[0] == "I"
        return Header((height, width), is_grey or any("LA;16B" in tile for tile in image.tile))


def decode_image(path: str, stamp: tuple[int, int], recipe: Recipe) -> tuple[np.ndarray, bool]:
    """Pixels of the image in a file, uint8 of ``recipe.shape``; and whether it has more frames.

    Raises
    ------
    Exception
        Of any kind: damaged files bring out whatever a decoder did not think of.
    """
    from PIL import ImageOps

    _let_pillow_give_memory_back()
    with _open_at_once(path) as file:
        if _stamp(os.fstat(file.fileno())) != tuple(stamp):
            raise ValueError("it has changed since the ImageFiles was made: make a new one")
        with _opened(file, recipe.max_pixels) as image:
            # A JPEG of several pictures is a photograph with its preview, or its depth.
            is_animated = image.format != "MPO" and getattr(image, "is_animated", False)
            if recipe.resize is not None:
                image.draft(None, (_DRAFT_MARGIN * max(recipe.size),) * 2)
            n_pixels = max(math.prod(image.size), math.prod(recipe.size))
            with _decoded_at_once.room_for(n_pixels), _without_pillow_limit(if_larger=n_pixels):
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                pixels = np.asarray(_resized(_converted(image, image.format, recipe.mode), recipe))
                image.close()  # before another image may take its room
                return pixels, is_animated


def reason_of(error: Exception) -> str:
    """Say in words why a file cannot be used."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return f"it is no image, or none of {', '.join(FORMATS)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _open_at_once(path: str) -> Any:
    """Open a file, or what has taken its place: a pipe would wait for someone to write to it."""
    without_waiting = getattr(os, "O_NONBLOCK", 0)  # which Windows does not have, nor such pipes
    return open(path, "rb", opener=lambda path, flags: os.open(path, flags | without_waiting))


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


@functools.cache  # for this process
def _let_pillow_give_memory_back() -> None:
    from PIL import Image

    with contextlib.suppress(AttributeError):  # Pillow promises no such functions
        Image.core.set_block_size(max(_BLOCK_BYTES, Image.core.get_block_size()))


@contextlib.contextmanager
def _opened(file: Any, max_pixels: int) -> Iterator[Any]:
    from PIL import Image

    with _without_pillow_limit():
        image = Image.open(file, formats=FORMATS)
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise ValueError(
                f"it has {width} × {height} pixels, more than max_pixels={max_pixels}: if that is "
                "no attack on your memory, raise the limit"
            )
        yield image


@contextlib.contextmanager
def _without_pillow_limit(if_larger: int | None = None) -> Iterator[None]:
    """Lift Pillow's limit of pixels, which is global, from one thread at a time."""
    from PIL import Image

    if if_larger is not None and if_larger <= MAX_PIXELS:
        yield
        return
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _orientation(image: Any) -> int:
    from PIL import Image

    # Not the method of PNG, which reads the whole file in search of what stands at its end.
    return Image.Image.getexif(image).get(_ORIENTATION, 1)


def _converted(image: Any, file_format: str, mode: str) -> Any:
    """Image in `mode`: 16 bits scaled to 8, alpha over white unless it is asked for."""
    from PIL import Image

    # Mode "I" has 32 bits, but of these formats it means 16.
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        values, transparent = np.asarray(image), image.info.get("transparency")
        # The upper byte, which is also what Pillow keeps of colours of 16 bits.
        image = Image.fromarray((values >> 8).astype(np.uint8))
        if transparent is not None:
            image.putalpha(Image.fromarray(values != transparent).convert("L"))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are {'32-bit integers' if image.mode == 'I' else 'floats'}, which have no "
            "fixed white: save it with 8 or 16 bits"
        )
    if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        if mode != "RGBA":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB")
    elif image.mode not in CHANNELS:
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image if image.mode == mode else image.convert(mode)


def _resized(image: Any, recipe: Recipe) -> Any:
    from PIL import Image

    height, width = recipe.size
    if recipe.resize is None and image.size != (width, height):
        raise ValueError(
            f"it has {image.height} × {image.width} pixels, and the others {height} × {width}: "
            "give image_size="
        )
    if recipe.resize == "crop":
        # The part that is left of a shorter side of size / crop_pct, cut out and resized at once.
        scale = recipe.crop_pct * min(image.width / width, image.height / height)
        # Rounding may leave less than nothing at the sides.
        left = max(0.0, (image.width - width * scale) / 2)
        top = max(0.0, (image.height - height * scale) / 2)
        box = (left, top, image.width - left, image.height - top)
    else:
        box = (0, 0, *image.size)
    if image.size == (width, height) and box == (0, 0, width, height):
        return image
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)
