"""Decoding image files as people have them: any mode, any orientation, any size."""

import errno
import glob
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from tqdm import tqdm

from mixtransfer.common.batches import map_in_threads
from mixtransfer.data.checked import Checked, states_of
from mixtransfer.errors import UserError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
    | {".avif", ".jp2", ".j2k", ".jpf", ".jpx"}
)
AT_ONCE = 64  # files that a thread decodes before it takes more
# From EXIF's orientation to what sets the image upright (EXIF 2.32, section 4.6.4).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What may be inside of them, the most frequent first. Pillow knows more and goes by the contents, not by the name: for
# a PostScript file it would start Ghostscript.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "TGA", "ICO", "DIB")
if find_spec("PIL.AvifImagePlugin"):
    FORMATS += ("AVIF",)


class UnreadableError(ValueError):
    """A file cannot be read now, which says nothing of what is in it: it may be tried again."""


def load_image(path: Path | str | IO[bytes], min_side: int | None = None) -> Image.Image:
    """Decode one image file to 8-bit RGB, upright.

    EXIF orientation is applied, and whatever else the metadata holds, broken or not, is left alone. Of an animation
    the first frame is taken. Transparent pixels become white. More than 8 bits of grey are scaled by what the format
    can hold, not by what one file holds: a dark image stays darker than a bright one.

    Args:
        path: The file, or an open one, which is read from its beginning.
        min_side: The shorter side in pixels that is enough. A much larger image is then decoded at a reduced
            scale whose shorter side is still at least this (for JPEG inside the decoder, which is several
            times faster).

    Returns:
        An image of mode RGB.

    Raises:
        ValueError: The file is not a usable image, or an ``UnreadableError``; the message is a short reason without
            the path.
    """
    try:
        if isinstance(path, str | Path) and not _is_plain(path):  # it would be waited for
            raise ValueError("is a pipe or a device, no file")
        with Image.open(path, formats=FORMATS) as image:
            if min_side:
                image.draft(None, (min_side, min_side))
            image.load()
            return upright_rgb(image, min_side)
    except (Image.DecompressionBombError, UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        kind = UnreadableError if _is_of_system(error) else ValueError
        reason = _reason(path, error) if isinstance(path, str | Path) else _reason_of_contents(error)
        raise kind(reason) from error


def _is_of_system(error: Exception) -> bool:
    """Whether the operating system failed, not the decoder."""
    return isinstance(error, OSError) and error.errno is not None


def _is_plain(path: Path | str) -> bool:
    mode = Path(path).stat().st_mode
    return not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode))


def upright_rgb(image: Image.Image, min_side: int | None = None) -> Image.Image:
    """An open image as ``load_image`` gives it.

    Raises:
        ValueError: Its pixels mean nothing that is known.
    """
    turn = _UPRIGHT.get(_orientation(image) or 1)
    image = _rgb(image)  # before it is made smaller: averages of palette entries or of hues are no colours
    if min_side and (factor := min(image.size) // min_side) > 1:
        image = image.reduce(factor)
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a broken block raises nearly anything, and says nothing about the pixels
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image), 0, 65535) // 257
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode == "LAB":
        return _lab_to_rgb().apply(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("RGB")


@cache
def _lab_to_rgb() -> ImageCms.ImageCmsTransform:
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, rgb, "LAB", "RGB")


def _reason(path: Path | str, error: Exception) -> str:
    path = Path(path)
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "has too long a name"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    if path.is_dir():
        return "is a folder"
    if isinstance(error, OSError) and _is_of_system(error):
        return f"cannot be read ({error.strerror})"
    if _is_plain(path) and path.stat().st_size == 0:
        return "is empty (0 bytes)"
    if not _is_plain(path):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "is not an image, whatever its name says"
    return _reason_of_contents(error)


def _reason_of_contents(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "is not an image"
    if isinstance(error, Image.DecompressionBombError):
        return "has more than 178 million pixels"
    text = " ".join(str(error).split())
    return "is truncated" if "truncated" in text.lower() else f"cannot be decoded ({text})"


def upright_size(path: Path | str) -> tuple[int, int]:
    """Width and height that ``load_image`` gives, from the file's header."""
    with Image.open(path, formats=FORMATS) as image:
        # Pillow gives a TIFF's size as it is displayed, any other's as it is stored.
        turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
        return image.size[::-1] if turned else image.size


def is_turned(path: Path | str) -> bool:
    """Whether EXIF says that the picture is to be turned or mirrored before it is shown."""
    with Image.open(path, formats=FORMATS) as image:
        return _orientation(image) in _UPRIGHT


def unusable_reason(path: Path | str) -> str | None:
    """Why a file cannot be used as an image, or None if it can be. Decodes all of it, JPEGs at 1/8 scale."""
    return _verdict(path)[0]


def _verdict(path: Path | str) -> tuple[str | None, bool]:
    """See ``unusable_reason``; and whether that is said of the file's contents."""
    try:
        load_image(path, min_side=1)
    except ValueError as error:
        return str(error), not isinstance(error, UnreadableError)
    return None, True


def find_unusable(paths: Sequence[Path], progress: bool = True) -> dict[Path, str]:
    """Decode every file that is not known from an earlier start, and return the unusable ones with the reason.

    Threads suffice: Pillow decodes outside Python's global lock.
    """
    checked, states = Checked(), states_of(paths)
    reasons = {path: reason for path, (reason,) in checked.known(states).items()}
    new = [path for path in dict.fromkeys(paths) if path not in reasons]
    answers = map_in_threads(_verdict, new, AT_ONCE)
    bar = tqdm(answers, "Checking images", len(new), leave=False, disable=not progress or len(new) < 2000)
    lasting: dict[Path, tuple[str | None]] = {}
    try:
        for path, (reason, lasts) in zip(new, bar, strict=True):
            reasons[path] = reason
            if lasts:
                lasting[path] = (reason,)
    finally:  # an interrupt loses nothing
        checked.add(states, lasting)
    return {path: reason for path in paths if (reason := reasons[path]) is not None}


def tell_skipped(skipped: Mapping[Path, str], say: Callable[[str], None], most: int = 20) -> None:
    """Name the files that cannot be used, ``most`` of them one by one."""
    for path, reason in list(skipped.items())[:most]:
        say(f"Left out: {path} {reason}.")
    if len(skipped) > most:
        say(f"… and {len(skipped) - most} more files that cannot be used.")


def is_image_name(path: Path) -> bool:
    """Whether a file's name is that of an image; hidden files (``._x.jpg``) are not."""
    return has_suffix(path, IMAGE_SUFFIXES)


def has_suffix(path: Path, suffixes: frozenset[str]) -> bool:
    """Whether a file's name ends with one of ``suffixes``, in any case, and it is not hidden."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def find_images(patterns: Sequence[str], suffixes: frozenset[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Files, folders (searched through and through) and globs to a list of files without repetition.

    Args:
        patterns: What a person types.
        suffixes: What a file in a folder must end with.

    Raises:
        UserError: One of them matches nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            matches = sorted(file for file in path.rglob("*") if file.is_file() and has_suffix(file, suffixes))
        elif path.exists():
            matches = [path]
        else:
            names = glob.glob(pattern, recursive=True)  # noqa: PTH207 (a pattern may be absolute)
            matches = sorted(Path(name) for name in names if Path(name).is_file())
        if not matches:
            raise UserError(f"{pattern} holds no images." if path.is_dir() else f"There is no file {pattern}.")
        found.update(dict.fromkeys(matches))
    return list(found)
