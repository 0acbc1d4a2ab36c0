"""Copies: within a part, across parts, under two labels; and which of them to drop."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixtransfer.data.division import counted
from mixtransfer.doctor.finding import Example, Finding
from mixtransfer.doctor.listing import Listing
from mixtransfer.doctor.looking import Look
from mixtransfer.doctor.near import NearPairs, hashes_of, near_pairs

PLAIN = 2.0  # grey levels: with less spread there is nothing to compare
# Share of images with near copies, and number of these by image, above which they are an image's relatives rather than
# its copies: frames of a film, or pictures as plain as handwritten digits.
ALIKE, RELATIVES = 0.25, 2
KEPT_FIRST = {"test": 0, "val": 1, "train": 2, "all": 3}  # of copies in two parts the test image stays


class Copies:
    """The copies among a dataset's images.

    Attributes:
        groups: Positions of images with equal bytes, two or more each.
        near: Pairs that are nearly the same, most alike first; of a group one image stands for all in its part. Empty
            if the images are ``alike``.
        alike: So many pairs that copies cannot be told from relatives; otherwise empty.
    """

    def __init__(self, listing: Listing, looks: Sequence[Look]):
        self.listing = listing
        by_digest: dict[str, list[int]] = {}
        for i, look in enumerate(looks):
            if look.reason is None:
                by_digest.setdefault(look.digest, []).append(i)
        self.groups = [group for group in by_digest.values() if len(group) > 1]
        first: dict[tuple[str, str], int] = {}  # one image of each group for each part
        for group in by_digest.values():
            for i in group:
                first.setdefault((looks[i].digest, listing.part[i]), i)
        chosen = np.array(sorted(i for i in first.values() if looks[i].spread >= PLAIN), dtype=np.int64)
        hashes = hashes_of([look.hash for look in looks])
        found = near_pairs(listing, hashes, chosen)
        equal = np.array([looks[i].digest == looks[j].digest for i, j in found.pairs], dtype=bool)
        order = np.argsort(-found.likeness, kind="stable")
        order = order[~equal[order]]
        near = NearPairs(found.pairs[order], found.likeness[order], found.left)
        involved = len(np.unique(near.pairs))
        many = involved > ALIKE * len(chosen) and 2 * len(near.pairs) > RELATIVES * involved
        none = NearPairs(np.empty((0, 2), int), np.empty(0), 0)
        self.near, self.alike = (none, near) if many else (near, none)

    def findings(self) -> list[Finding]:
        found = (*self._leaks(), self._two_labels(), self._unsplit(), *self._within(), self._alike())
        return [finding for finding in found if finding]

    def to_drop(self) -> dict[int, str]:
        """What to drop, with the reason, so that no copy is left over.

        Of equal files one stays (none, where they have two labels: at most one of these is right); of those that are
        nearly the same, only the copies in a training part of a test image, and copies in data that is yet to be
        split.
        """
        listing, dropped = self.listing, {}
        for group in self.groups:
            labels = sorted({listing.shows(i) for i in group if listing.label[i] >= 0})
            kept = min(group, key=self._rank)
            files = {image for i in group if isinstance(image := listing.images[i], Path)}
            if len(files) == 1:  # listed more than once: without the file nothing would be left
                continue
            for i in group:
                if i != kept and isinstance(listing.images[i], Path) and listing.images[i] == listing.images[kept]:
                    continue
                if len(labels) > 1:
                    dropped[i] = f"the same image is labelled {' and '.join(labels)}"
                elif i != kept:
                    dropped[i] = f"the same as {listing.short(kept)}"
        edges: dict[int, list[int]] = {}
        for i, j in self.near.pairs.tolist():
            if listing.part[i] != listing.part[j] or listing.part[i] == "all":
                for one, other in ((i, j), (j, i)):
                    edges.setdefault(one, []).append(other)
        kept_near: set[int] = set()
        for i in sorted(edges, key=self._rank):
            if i in dropped:
                continue
            copy = next((j for j in edges[i] if j in kept_near), None)
            if copy is None:
                kept_near.add(i)
            else:
                dropped[i] = f"nearly the same as {listing.short(copy)}"
        return dropped

    def _rank(self, i: int) -> tuple[int, int]:
        return KEPT_FIRST[self.listing.part[i]], i

    def _leaks(self) -> list[Finding]:
        """Copies across parts: of equal files, and of those that are nearly the same."""
        part = self.listing.part
        equal = []
        for group in self.groups:
            trained = max(group, key=lambda i: (self._rank(i)[0], -i))
            equal += [(i, trained) for i in group if part[i] != part[trained]]
        near = [sorted(pair, key=self._rank) for pair in self.near.pairs.tolist() if part[pair[0]] != part[pair[1]]]
        findings = []
        for kind, pairs, like in (("leak", equal, "the same as"), ("near_leak", near, "nearly the same as")):
            if pairs:
                seen = {i for i, _ in pairs}
                counts = {name: sum(part[i] == name for i in seen) for name in ("test", "val")}
                words = " and ".join(
                    f"{counted(count, f'{name} image')} ({self._share(count, name)})"
                    for name, count in counts.items()
                    if count
                )
                mend = "Drop the training copies (--fix-list): a score on images that were trained on is too high."
                if kind == "leak" and self._listed_twice(pairs):
                    mend = "Files listed in two parts have to be taken out of one of the lists. " + mend
                if kind == "near_leak":
                    mend = f"Look at them. {mend}{self._left()}"
                findings.append(
                    Finding(
                        kind,
                        "error" if kind == "leak" else "warning",
                        f"{words} {'is' if len(seen) == 1 else 'are'} {like} images of another part "
                        f"({counted(len(pairs), 'pair')}).",
                        mend,
                        self._examples(pairs),
                    )
                )
        return findings

    def _listed_twice(self, pairs: Sequence[Sequence[int]]) -> bool:
        images = self.listing.images
        return any(isinstance(images[i], Path) and images[i] == images[j] for i, j in pairs)

    def _share(self, count: int, part: str) -> str:
        share = 100 * count / len(self.listing.members(part))
        return f"{share:.0f} % of the part" if share >= 10 else f"{share:.2g} % of the part"

    def _left(self) -> str:
        return f" {self.near.left:,} more pairs with like hashes were not compared." if self.near.left else ""

    def _two_labels(self) -> Finding | None:
        label = self.listing.label
        equal = []
        for group in self.groups:
            first = {label[i]: i for i in reversed(group)}  # of each label
            equal += [(group[0], i) for i in first.values() if label[i] != label[group[0]]]
        near = [pair for pair in self.near.pairs.tolist() if label[pair[0]] != label[pair[1]]]
        if not equal and not near:
            return None
        words = [counted(len(equal), "pair") + " of equal images"] if equal else []
        words += [counted(len(near), "pair") + " of nearly equal images"] if near else []
        have = "has" if len(equal) + len(near) == 1 else "have"
        mend = "Decide which is right; the fix list drops the equal ones altogether."
        if self._listed_twice(equal):
            mend = "A file that is listed twice has to be taken out once. " + mend
            if self.listing.is_multilabel:
                mend = "Write one row an image, with all of its labels. " + mend
        return Finding(
            "two_labels",
            "error" if equal else "warning",
            f"{' and '.join(words)} {have} different labels.",
            mend,
            self._examples([*equal, *near]),
        )

    def _unsplit(self) -> Finding | None:
        """Copies in data that training will split by chance."""
        pairs = [(group[0], i) for group in self._groups_within("all") for i in group[1:]] + self._near_within("all")
        if not pairs:
            return None
        return Finding(
            "copies_before_split",
            "warning",
            f"{len({i for pair in pairs for i in pair}):,} images of this data, which is not split, are copies of one "
            f"another ({counted(len(pairs), 'pair')}).",
            "Drop the copies (--fix-list), or they fall on both sides of the split and the test score is too high."
            + self._left(),
            self._examples(pairs),
        )

    def _within(self) -> list[Finding]:
        findings = []
        parts = [part for part in self.listing.parts if part != "all"]
        equal = [(group[0], i) for part in parts for group in self._groups_within(part) for i in group[1:]]
        if equal:
            findings.append(
                Finding(
                    "copies",
                    "warning",
                    f"{counted(len(equal), 'image')} {'is an exact copy' if len(equal) == 1 else 'are exact copies'} "
                    "of another in the same part.",
                    "Drop them (--fix-list): they count double.",
                    self._examples(equal),
                )
            )
        if near := [pair for part in parts for pair in self._near_within(part)]:
            findings.append(
                Finding(
                    "near_copies",
                    "note",
                    f"{counted(len(near), 'pair')} of nearly equal images within a part.",
                    "Nothing need be done, but such images add little." + self._left(),
                    self._examples(near),
                )
            )
        return findings

    def _alike(self) -> Finding | None:
        pairs = self.alike.pairs
        if not len(pairs):
            return None
        return Finding(
            "alike",
            "warning",
            f"{len(np.unique(pairs)):,} of {len(self.listing):,} images are so like others that copies cannot be told "
            f"from relatives ({counted(len(pairs), 'pair')}).",
            "If they are frames of films, keep each film in one part; if they are plain by nature, all is well.",
            self._examples(pairs.tolist()),
        )

    def _groups_within(self, part: str) -> list[list[int]]:
        inside = ([i for i in group if self.listing.part[i] == part] for group in self.groups)
        return [group for group in inside if len(group) > 1]

    def _near_within(self, part: str) -> list[list[int]]:
        return [
            pair
            for pair in self.near.pairs.tolist()
            if self.listing.part[pair[0]] == part == self.listing.part[pair[1]]
        ]

    def _examples(self, pairs: Sequence[Sequence[int]]) -> list[Example]:
        return [Example(f"{self.listing.short(i)} and {self.listing.short(j)}", (i, j)) for i, j in pairs]
