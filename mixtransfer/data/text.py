"""Text files as people's programs write them."""

import codecs
import re
from pathlib import Path

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with a byte order mark or without, or in UTF-16 with one, as Windows writes it.

    Raises:
        OSError: It cannot be read.
        ValueError: It is in another encoding.
    """
    data = path.read_bytes()
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    return data.decode(encoding)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, whatever ends them, without blanks around them; for errors see ``read_text``."""
    return [line.strip() for line in re.split(r"\r\n|\r|\n", read_text(path))]
