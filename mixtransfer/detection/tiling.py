"""How large images are cut into overlapping tiles."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixtransfer.errors import UserError

SMALLEST_TILE, LARGEST_TILE = 64, 100_000  # pixels, side of a tile
USUAL_OVERLAP, LARGEST_OVERLAP = 0.2, 0.75


@dataclass(frozen=True)
class Tiling:
    """How images are cut.

    Attributes:
        side: Of a tile, in pixels of the image.
        overlap: Share of a tile that the next one shows too, at least.
    """

    side: int
    overlap: float

    def windows(self, width: int, height: int) -> np.ndarray:
        """What is shown of an image, x1, y1, x2, y2 in pixels, int64 (n, 4): all of it, then the tiles, row by row.

        Tiles have the side, or that of the image where it is smaller, and lie at equal distances; an image that is no
        larger than a tile has none.
        """
        columns, rows = self._starts(width), self._starts(height)
        across, down = min(self.side, width), min(self.side, height)
        tiles = [(x, y, x + across, y + down) for y in rows for x in columns]
        return np.array([(0, 0, width, height), *(tiles if len(tiles) > 1 else ())], dtype=np.int64)

    def _starts(self, length: int) -> list[int]:
        step = self.side * (1 - self.overlap)
        count = 1 + max(0, int(np.ceil((length - self.side) / step)))
        return np.linspace(0, max(0, length - self.side), count).round().astype(int).tolist()

    def to_dict(self) -> dict[str, Any]:
        return {"side": self.side, "overlap": self.overlap}

    def __str__(self) -> str:
        return f"tiles of {self.side} pixels that overlap by {100 * self.overlap:g} %"


def are_tiles(value: Any) -> bool:
    """Whether something is a ``Tiling.to_dict()``, or None."""
    if value is None:
        return True
    if not isinstance(value, dict) or set(value) != {"side", "overlap"} or type(value["side"]) is not int:
        return False
    overlap = value["overlap"]
    return value["side"] >= SMALLEST_TILE and isinstance(overlap, int | float) and 0 <= overlap <= LARGEST_OVERLAP


def as_tiling(tiles: int | None, overlap: float | None, trained: Tiling | None = None) -> Tiling | None:
    """What ``--tiles`` and ``--overlap`` ask for; None: no tiles.

    Args:
        tiles, overlap: As given; 0 tiles are none.
        trained: Of the run, which holds for what is not given.

    Raises:
        UserError: A value cannot be.
    """
    if tiles == 0:
        return None
    side = tiles or (trained.side if trained else None)
    if side is None:
        if overlap is not None:
            raise UserError(f"--overlap {overlap} is of tiles: give their side in pixels by --tiles.")
        return None
    if overlap is None:
        overlap = trained.overlap if trained else USUAL_OVERLAP
    if side < SMALLEST_TILE:
        raise UserError(f"--tiles is {side}; the side of a tile must be at least {SMALLEST_TILE} pixels (0: no tiles).")
    if not 0 <= overlap <= LARGEST_OVERLAP:
        raise UserError(f"--overlap is {overlap}; it must lie between 0 and {LARGEST_OVERLAP}, a share of a tile.")
    return Tiling(side, overlap)
