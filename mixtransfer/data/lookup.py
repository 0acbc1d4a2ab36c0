"""The image that an annotation file means by a name, which another machine may have written."""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from mixtransfer.data.confine import inside
from mixtransfer.data.images import IMAGE_SUFFIXES
from mixtransfer.data.parts import part_of_path
from mixtransfer.data.tree import Tree


class Lookup:
    """Finds images of a dataset by the names that its annotations have for them; nothing outside is ever found.

    A name means the file of that path, if there is one; else the one that is spelled like it but for capitals,
    Unicode's composed or decomposed letters and a missing suffix; else, if it is of another machine (a URL, an absolute
    path, one with backslashes or ``..``), the only image whose path ends as it does, or is its end; or, if the caller
    says so, the only one that shares most of its end, which may be the name of the file alone.

    Attributes:
        respelled, by_end: Name → path below the root of those found in the second and the third way.
    """

    def __init__(self, tree: Tree):
        self.tree = tree
        self.respelled: dict[str, str] = {}
        self.by_end: dict[str, str] = {}
        self._folders: dict[str, dict[str, list[str]]] = {}
        self._ends: dict[int, dict[tuple[str, ...], list[str]]] = {}

    def find(self, name: str, folder: Path, part: str = "all", elsewhere: bool = False) -> Path | None:
        """The file, in ``folder`` if the name says no other; None if there is none.

        Args:
            name: As the annotations have it.
            folder: Where the images should be.
            part: Prefer an image in a folder of this part, if several paths end as the name does.
            elsewhere: Whether any name may be found by its end, and by as little of it as is there.

        Raises:
            ValueError: Several images are meant as well; the message names two.
        """
        if stays_below(name):
            path = folder / name
            if is_file(path):
                return path
            if (near := self._respelled(path)) is not None:
                self.respelled[name] = near.name
                return near
        if (elsewhere or is_foreign(name)) and (found := self._by_end(name, part, elsewhere)) is not None:
            self.by_end[name] = found
            return self.tree.root / found
        return None

    def is_there(self, name: str, folder: Path, respelled: bool) -> bool:
        """Whether ``folder`` has the file, ``respelled`` or not."""
        if not stays_below(name):
            return False
        return is_file(folder / name) or (respelled and self._respelled(folder / name) is not None)

    def notes(self) -> list[str]:
        """What was found otherwise than by its name, in sentences."""
        told = []
        for found, how in ((self.respelled, "another spelling"), (self.by_end, "the end")):
            if found:
                name, path = min(found.items())
                told.append(f"Images found by {how} of their name: {len(found)} ({shown(name)}: {shown(path)}).")
        return told

    def _respelled(self, path: Path) -> Path | None:
        folder = os.fspath(path.parent)
        if folder not in self._folders:
            names: dict[str, list[str]] = {}
            try:
                listed = os.listdir(folder)  # noqa: PTH208 (names are enough)
            except (OSError, ValueError):
                listed = []
            for entry in listed:
                if Path(entry).suffix.lower() in IMAGE_SUFFIXES and not entry.startswith("."):
                    names.setdefault(_key(entry), []).append(entry)
                    names.setdefault(_key(Path(entry).stem), []).append(entry)
            self._folders[folder] = names
        near = self._folders[folder].get(_key(path.name), [])
        return path.parent / near[0] if len(near) == 1 else None

    def _by_end(self, name: str, part: str, elsewhere: bool) -> str | None:
        written = _folders(name)
        for folders in dict.fromkeys((written, _folders(unquote(name)), _without_upload(written))):
            length, found = self._sharing_most(folders)
            if not elsewhere and length < len(folders):
                found = [file for file in found if file.count("/") + 1 == length]
            if not found:
                continue
            if len(found) > 1:
                found = [file for file in found if part_of_path(file.split("/")[:-1]) == part] or found
            if len(found) > 1:
                raise ValueError(f"could be {shown(found[0])} or {shown(found[1])}")
            try:
                inside(self.tree.root, found[0])
            except ValueError:
                return None
            return found[0]
        return None

    def _sharing_most(self, folders: tuple[str, ...]) -> tuple[int, list[str]]:
        """The images that share most of the end of a path, and how many of its folders, with the file, that is."""
        for length in range(len(folders), 0, -1):
            if found := self._with_ends(length).get(folders[-length:]):
                return length, found
        return 0, []

    def _with_ends(self, length: int) -> dict[tuple[str, ...], list[str]]:
        """The images by the last folders and the file of their paths, so many together."""
        if length not in self._ends:
            ends = self._ends[length] = {}
            for file in self.tree.images:
                if file.count("/") >= length - 1:
                    ends.setdefault(tuple(_key(file).split("/")[-length:]), []).append(file)
        return self._ends[length]


def is_file(path: Path) -> bool:
    """Whether a path is a file's, whatever else it is: too long, with a NUL, below a file."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def missing(folder: Path, name: str) -> Path:
    """A path in ``folder`` for a file that is not there, to be named in a message."""
    last = re.split(r"[/\\?]", name.strip("/\\"))[-1][-100:]
    return folder / (last if last not in ("", ".", "..") else "unnamed")


def stays_below(name: str) -> bool:
    """Whether a name is a path that leads out of no folder that it is looked for in."""
    return not (name.startswith(("/", "~")) or "://" in name or ".." in re.split(r"[/\\]", name))


def is_foreign(name: str) -> bool:
    """Whether another machine wrote a name: a URL, an absolute path, or one with backslashes or ``..``."""
    return not stays_below(name) or "\\" in name


def shown(name: str) -> str:
    """A file's name for a message, whatever bytes it holds."""
    return "".join(c if c.isprintable() else "�" for c in name.encode("utf-8", "replace").decode())


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few of ``names``, for a message."""
    return ", ".join(map(shown, names[:most])) + (" …" if len(names) > most else "")


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _folders(name: str) -> tuple[str, ...]:
    """The folders and the file of a name, without what is of another machine; as keys."""
    if "://" in name:
        try:
            url = urlsplit(name)
            name = url.path
            query = url.query
        except ValueError:
            return ()
    else:
        name, _, query = name.partition("?")
    # Label Studio serves local files as /data/local-files/?d=folder/x.jpg
    name = parse_qs(query).get("d", [name])[0]
    words = _key(name.replace("\\", "/")).split("/")
    return tuple(word for word in words if word not in ("", ".", ".."))


def _without_upload(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Without the eight letters that Label Studio puts before the name of a file that is uploaded."""
    return (*folders[:-1], re.sub(r"^[0-9a-f]{8}-(?=.)", "", folders[-1])) if folders else ()
