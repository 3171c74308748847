"""Pictures of any size, such as a photo of a digit on paper: read within bounds, in grey, the right way up."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnistnn.data.checks import damaged, refuse
from mnistnn.errors import DataError
from mnistnn.types import UInt8s

__all__ = ["MAX_PIXELS", "read_photo"]

MAX_PIXELS = 25_000_000
"""What a picture may have, by its header: twice a phone's usual photo, and 100 MB when it is decoded with colours."""

_SIDE = 1024  # pixels, to which larger pictures are brought while they are decoded; a digit needs 28
_LEAST_SIDE = 2


def read_photo(file: BinaryIO, path: Path) -> UInt8s:
    """Returns a PNG or JPEG in shades of grey, turned as its camera was held, and no larger than 1024 pixels a side.

    What is transparent becomes white where the ink is dark and black where it is light. 16 bits become 8.

    Args:
        file: the picture.
        path: what an error calls it; nothing is opened by this name.

    Shape: → (H, W)

    Raises:
        DataError: damaged, another format, or more than `MAX_PIXELS` (seen in its header, before it is decoded).
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a picture that is far too large: its size is checked below
            with Image.open(file, formats=("PNG", "JPEG")) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise _too_large(path, f"has {width:,}×{height:,}")
                if min(width, height) < _LEAST_SIDE:
                    rule = f"a picture must have {_LEAST_SIDE} pixels a side or more"
                    raise refuse(path, rule, f"has {width}×{height}", "take another")
                return _grey(picture)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "has far more") from error
    except UnidentifiedImageError as error:
        raise refuse(path, "a picture must be a PNG or a JPEG", "is none", "save it as one of these") from error
    except Exception as error:  # Pillow's decoders let out whatever they meet, and they are not ours to list
        raise damaged(path, "a picture", error) from error


def _too_large(path: Path, got: str) -> DataError:
    return refuse(path, f"a picture must have at most {MAX_PIXELS:,} pixels", got, "scale it down")


def _grey(picture: Any) -> UInt8s:
    from PIL import Image, ImageOps

    if picture.mode.startswith("I"):  # 16 bits, which `convert` would clip
        deep: NDArray[Any] = np.asarray(picture, np.float32)
        picture = Image.fromarray((np.clip(deep, 0, 65535) / 257 + 0.5).astype(np.uint8))
    elif "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    elif picture.mode in ("P", "1"):  # which cannot be scaled smoothly
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)  # a JPEG is decoded no larger than that needs
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "RGBA":
        light, opacity = (np.asarray(picture.convert(mode), np.float32) for mode in ("L", "RGBA"))
        opacity = opacity[..., 3]
        is_light = float((light * opacity).sum()) > 127.5 * float(opacity.sum())
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black" if is_light else "white"), picture)
    return np.array(picture.convert("L"), np.uint8)
