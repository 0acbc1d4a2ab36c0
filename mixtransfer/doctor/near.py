"""Pairs of images that are nearly the same: found by their hashes, borne out by their pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from tqdm import tqdm

from mixtransfer.doctor.listing import Listing

RADIUS = 12  # bits of 64 in which the hashes of a pair may differ
NEAREST = 32  # candidates of an image in each part
MOST_COMPARED = 200_000  # pairs whose pixels are compared, the nearest first
SIDE = 32  # pixels, of the grey pictures that are compared
MARGIN = 3  # of these pixels: how far a crop may have moved the picture
SCALES = (1.0, 1.1, 1.2)  # a crop makes everything larger
# On CIFAR-10, pairs above these bounds were the same photograph, or the same object from the same place, whenever
# looked at; below 0.7 in detail they were ships on the same horizon.
LIKE, LIKE_IN_DETAIL = 0.85, 0.75
BLOCK = 64


@dataclass(frozen=True)
class NearPairs:
    """Attributes:
    pairs: Positions (i, j) with i < j, shape (n, 2).
    likeness: How well they agree in detail, from LIKE_IN_DETAIL to 1, shape (n,).
    left: Number of candidate pairs that were not compared because there were too many.
    """

    pairs: np.ndarray
    likeness: np.ndarray
    left: int


def near_pairs(listing: Listing, hashes: np.ndarray, chosen: np.ndarray) -> NearPairs:
    """Find the pairs that are nearly the same: recompressed, resized, brightened, slightly cropped.

    Args:
        listing: The images.
        hashes: Perceptual hashes of all, uint64, shape (m,).
        chosen: Ascending positions of the images to look among: one of each set of equal files, and none that is plain.
    """
    parts = np.unique(listing.part, return_inverse=True)[1][chosen]
    found, distance = candidates(hashes[chosen], parts)
    nearest = np.argsort(distance, kind="stable")[:MOST_COMPARED]
    pairs = chosen[found[nearest]]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]  # so that a picture is seldom read again

    @lru_cache(maxsize=8192)
    def picture(i: int) -> np.ndarray:
        return small_grey(listing, i)

    likeness = np.array(
        [
            like(picture(int(i)), picture(int(j)))
            for i, j in tqdm(pairs, "Comparing", leave=False, disable=None if len(pairs) > 1000 else True)
        ]
    )
    kept = likeness > 0
    return NearPairs(pairs[kept], likeness[kept], len(found) - len(nearest))


def candidates(hashes: np.ndarray, parts: np.ndarray, radius: int = RADIUS) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of hashes that differ in at most ``radius`` bits, of each hash the ``NEAREST`` in each part.

    All are compared with all, 64 rows at a time: 60,000 hashes take seconds, less than reading the images.

    Args:
        hashes: uint64, shape (m,).
        parts: A small whole number for each, shape (m,).

    Returns:
        Positions (i, j) with i < j, shape (n, 2), and the number of bits in which they differ, shape (n,).
    """
    found, distances = [np.empty((0, 2), np.int64)], [np.empty(0, np.uint8)]
    for start in tqdm(
        range(0, len(hashes), BLOCK), "Pairing", leave=False, disable=None if len(hashes) > 20_000 else True
    ):
        rest = hashes[start:]
        bits = np.bitwise_count(hashes[start : start + BLOCK, None] ^ rest)
        flat = np.flatnonzero(bits <= radius)
        i, j = np.divmod(flat, len(rest))
        later = j > i
        i, j, distance = i[later], j[later], bits.ravel()[flat[later]]
        if len(i):
            group = i * (int(parts.max()) + 1) + parts[start + j]
            order = np.lexsort((distance, group))
            first = np.searchsorted(group[order], group[order])
            kept = order[np.arange(len(order)) - first < NEAREST]
            found.append(np.stack([start + i[kept], start + j[kept]], axis=1))
            distances.append(distance[kept])
    return np.concatenate(found), np.concatenate(distances)


def small_grey(listing: Listing, i: int) -> np.ndarray:
    """An image as ``like`` takes it: grey, 32 by 32 pixels whatever its proportions, float32."""
    image = np.asarray(listing.load(i, min_side=2 * SIDE).convert("L"), np.float32)
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def like(a: np.ndarray, b: np.ndarray) -> float:
    """How much two pictures are the same, after the best shift and scale, whatever their brightness and contrast.

    Both the pictures (normalized cross-correlation of at least ``LIKE``) and what is left of them without their low
    frequencies (at least ``LIKE_IN_DETAIL``) have to agree: two skies with a ship do so only in the first.

    Args:
        a, b: See ``small_grey``.

    Returns:
        The correlation of the details, or 0 if they are not the same.
    """
    whole, detail = max(_match(a, b), _match(b, a))
    return detail if whole >= LIKE and detail >= LIKE_IN_DETAIL else 0.0


def _match(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Correlations of the middle of ``b`` with the part of ``a`` that is most like it: as they are, and in detail."""
    middle = b[MARGIN:-MARGIN, MARGIN:-MARGIN]
    best: tuple[float, np.ndarray] = (-1.0, np.empty(0))
    for scale in SCALES:
        side = round(SIDE * scale)
        larger = a if side == SIDE else cv2.resize(a, (side, side), interpolation=cv2.INTER_LINEAR)
        _, value, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(larger, middle, cv2.TM_CCOEFF_NORMED))
        if value > best[0]:
            best = value, larger[y : y + len(middle), x : x + len(middle)]
    if best[0] < LIKE:
        return best[0], 0.0
    first, second = _details(best[1]), _details(middle)
    norm = np.sqrt((first**2).sum() * (second**2).sum())
    return best[0], float((first * second).sum() / max(norm, 1e-6))


def _details(picture: np.ndarray) -> np.ndarray:
    return picture - cv2.GaussianBlur(picture, (0, 0), 2)


def hashes_of(texts: Sequence[str]) -> np.ndarray:
    """Hashes as ``Look`` has them (empty for none) as numbers, uint64, shape (m,)."""
    return np.array([int(text or "0", 16) for text in texts], dtype=np.uint64)
