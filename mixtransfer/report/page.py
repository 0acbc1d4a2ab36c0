"""One self-contained HTML page: no network, no script, everything a user named is escaped."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from mixtransfer.common.files import write_atomic

THUMBNAIL = 160  # longest side in pixels


class Page:
    """A page made of blocks, in the order in which they are added.

    Args:
        title: Heading of the page.
        subtitle: A sentence or two under it.
    """

    def __init__(self, title: str, subtitle: str = ""):
        self.title, self.subtitle = title, subtitle
        self._blocks: list[dict[str, Any]] = []

    def headline(self, tiles: Sequence[tuple[str, str, str]]) -> None:
        """The numbers that matter most: (label, value, detail) each."""
        self._add("headline", tiles=tiles)

    def section(self, title: str, text: str = "") -> None:
        self._add("section", title=title, text=text)

    def note(self, text: str) -> None:
        self._add("note", text=text, level="note")

    def warning(self, text: str) -> None:
        self._add("note", text=text, level="warning")

    def figure(self, figure: Figure, caption: str, narrow: Figure | None = None) -> None:
        """A matplotlib figure as inline SVG; the caption is its text alternative.

        Args:
            narrow: The same for narrow screens. Without it the figure shrinks, and below half of its size it scrolls.
        """
        views = [_view(figure, "wide"), _view(narrow, "narrow")] if narrow else [_view(figure, "")]
        self._add("figure", views=views, caption=caption)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> None:
        """A table; a column whose cells all begin like numbers is aligned to the right, but for the first.

        It has no head if all ``columns`` are empty.
        """
        numeric = [i > 0 and all(_is_numeric(row[i]) for row in rows) for i in range(len(columns))]
        self._add("table", columns=columns, rows=rows, caption=caption, numeric=numeric)

    def gallery(self, items: Sequence[tuple[Image.Image | np.ndarray, str]], side: int = THUMBNAIL) -> None:
        """Small pictures (RGB, uint8), with a longest side of ``side`` pixels and a caption each."""
        self._add("gallery", items=[(_jpeg(image, side), caption) for image, caption in items], side=side)

    def code(self, text: str, summary: str) -> None:
        """Text as it is, folded away under ``summary``."""
        self._add("code", text=text, summary=summary)

    def write(self, path: Path) -> None:
        """Write the page; the file is whole or as it was before."""
        environment = Environment(
            loader=PackageLoader("mixtransfer.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        html = environment.get_template("page.html.jinja").render(
            title=self.title, subtitle=self.subtitle, blocks=self._blocks
        )
        write_atomic(path, html)

    def _add(self, kind: str, **content: Any) -> None:
        self._blocks.append({"kind": kind, **content})


def _view(figure: Figure, kind: str) -> dict[str, Any]:
    width = figure.get_figwidth()
    return {"svg": Markup(_svg(figure)), "kind": kind, "width": round(110 * width), "least": round(46 * width)}


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    # The size comes from the page; the viewBox keeps the proportions.
    return re.sub(r'^<svg([^>]*?) (?:width|height)="[^"]*"([^>]*?) (?:width|height)="[^"]*"', r"<svg\1\2", svg, count=1)


def _jpeg(image: Image.Image | np.ndarray, side: int) -> str:
    """A thumbnail as the base64 text of a JPEG."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image.copy()
    image.thumbnail((side, side))
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=85)
    return base64.b64encode(data.getvalue()).decode("ascii")


def _is_numeric(cell: Any) -> bool:
    return isinstance(cell, int | float) or re.match(r"^$|^–$|^[−+-]?\d", str(cell)) is not None
