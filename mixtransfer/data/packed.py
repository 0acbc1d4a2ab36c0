"""Data sets from the Hugging Face hub, in Parquet and in WebDataset's shards, by the library ``datasets``.

They are written out once, as an imagefolder with metadata, which is read like any other: every image keeps its bytes
and has a path, so that a run can keep its split.
"""

import contextlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from mixtransfer.common.files import write_atomic
from mixtransfer.common.messages import remark
from mixtransfer.data.detection.imagefolder import BOXES, CATEGORIES
from mixtransfer.data.images import FORMATS
from mixtransfer.data.lookup import some
from mixtransfer.data.names import PACKED
from mixtransfer.data.packed_source import Source, is_packed
from mixtransfer.data.parts import part_of_file
from mixtransfer.errors import UserError

FOLDERS = {"train": "train", "val": "val", "test": "test", "all": "images"}
LABELS = ("label", "cls", "class", "category")  # columns that hold the class, if none is declared to
IN_A_FOLDER = 10_000  # files
STATE = ".source"  # what a folder was like that has been written out
_SUFFIXES = {"JPEG": ".jpg", "JPEG2000": ".jp2", "TIFF": ".tif", "DIB": ".bmp"}  # of others the format's name


def unpacked(data: str, data_root: Path | str) -> str:
    """DATA, or if it is for ``datasets`` the folder below ``data_root`` that it is written out to, on first use.

    After the name may come ``@CONFIG``, of several that there are, and ``#COLUMN``, of several that hold a class.

    Raises:
        UserError: ``datasets`` is missing, or cannot read it, or it holds no labelled images.
    """
    if not is_packed(data):
        return data
    source = Source.parse(data)
    folder = Path(data_root) / "hf" / source.folder
    state, note = source.state(folder.parent), folder / STATE

    def is_there() -> bool:
        return folder.is_dir() and (state is None or note.is_file() and note.read_text(encoding="utf-8") == state)

    if is_there():
        return str(folder)
    if state is None and (older := folder.with_name(source.older_folder)).is_dir():
        remark(f"{data} is read from {older}, which an older version wrote; remove that folder to have it read anew.")
        return str(older)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not is_there():
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of an interrupt
            _write(source, partial)
            if state is not None:
                (partial / STATE).write_text(state, encoding="utf-8")
            if folder.is_dir():
                remark(f"{data} has changed since it was written out, so that is done anew.")
                shutil.rmtree(folder)
            partial.rename(folder)
            again = "" if state else "; remove that folder to have it read anew"
            remark(f"{data} is written out to {folder}{again}.")
    return str(folder)


def _write(source: Source, folder: Path) -> None:
    """Write images and ``metadata.jsonl``."""
    packed = _load(source)
    parts = _parts(packed, source)
    rows: list[str] = []
    unreadable, unlabelled = 0, 0
    for part, table in parts.items():
        columns = _Columns.of(table.features, source)
        table = columns.undecoded(table)
        title = f"Writing {source.name}, {part} part"
        for i, row in enumerate(tqdm(table, title, len(table), leave=False, disable=None)):
            values = columns.values(row)
            if values is None:
                unlabelled += 1
                if part != "test":
                    continue
            if (file := _image(row[columns.image], source, folder, FOLDERS[part], i)) is None:
                unreadable += 1
                continue
            rows.append(json.dumps({"file_name": file, **(values or {"label": None})}, ensure_ascii=False))
    if not rows:
        raise UserError(f"{PACKED}{source.name} holds no image that can be used.")
    write_atomic(folder / "metadata.jsonl", "\n".join(rows) + "\n")
    for count, what in ((unreadable, "are no images of a format that is read"), (unlabelled, "have no label")):
        if count:
            remark(f"Of {PACKED}{source.name} {count} rows {what}.")


def _load(source: Source) -> Any:
    try:
        import datasets
    except ImportError:
        raise UserError(
            "Data sets of the hub, Parquet and WebDataset are read by the library datasets, which is not installed: "
            "pip install 'mixtransfer[hub]'."
        ) from None
    try:
        with _quiet():
            return datasets.load_dataset(source.place, source.config)
    except Exception as error:  # whatever the network, the hub or a builder raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        hint = f"; one of several is chosen as {PACKED}{source.name}@CONFIG" if "onfig" in reason else ""
        raise UserError(f"{PACKED}{source.name} cannot be read by datasets ({reason}){hint}.") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import datasets

    before = datasets.utils.logging.get_verbosity()
    datasets.utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        datasets.utils.logging.set_verbosity(before)


def _parts(packed: Any, source: Source) -> dict[str, Any]:
    """The splits by the parts that they are."""
    if len(packed) == 1:
        return {"all": next(iter(packed.values()))}
    parts: dict[str, Any] = {}
    others = []
    for name, table in packed.items():
        part = part_of_file(str(name))
        if part is None or part in parts:
            others.append(str(name))
        else:
            parts[part] = table
    if "train" not in parts:
        raise UserError(f"{PACKED}{source.name} has no training part, only {some(list(packed))}.")
    if others:
        remark(f"Left out of {PACKED}{source.name}: the splits {some(others)}.")
    return parts


@dataclass(frozen=True)
class _Columns:
    """Which columns of a table hold the image, its class, and objects; and the names of numbered classes."""

    image: str
    label: str | None
    objects: str | None
    features: Any

    @classmethod
    def of(cls, features: Any, source: Source) -> "_Columns":
        from datasets import ClassLabel
        from datasets import Image as ImageFeature

        def one(what: str, names: list[str], usual: tuple[str, ...]) -> str | None:
            chosen = [name for name in names if name == source.column] or [n for n in usual if n in names] or names
            if len(chosen) > 1 and chosen[0] not in usual:
                raise UserError(
                    f"{PACKED}{source.name} has several columns of {what}, {' and '.join(chosen)}: give "
                    f"{PACKED}{source.name}#{chosen[0]}, or another of them."
                )
            return chosen[0] if chosen else None

        images = [name for name, its in features.items() if isinstance(its, ImageFeature) or _is_bytes(its)]
        bare = [name for name, its in features.items() if getattr(its, "dtype", None) in ("binary", "large_binary")]
        image = one("images", images or bare, ("image", "img"))
        if image is None:
            raise UserError(f"{PACKED}{source.name} has no column of images, only {some(list(features))}.")
        declared = [name for name, its in features.items() if isinstance(its, ClassLabel)]
        plain = [name for name in features if name in LABELS or name == source.column and name != image]
        label = one("classes", declared, ("label",)) or one("classes", plain, LABELS)
        objects = "objects" if "objects" in features else None
        if label is None and objects is None:
            raise UserError(
                f"{PACKED}{source.name} has no column of classes ({', '.join(LABELS)}) and none of objects, only "
                f"{some(list(features), 8)}: say which by {PACKED}{source.name}#COLUMN."
            )
        if source.column and source.column not in (label, image):
            raise UserError(f"{PACKED}{source.name} has no column of classes called {source.column!r}.")
        return cls(image, label, objects, features)

    def undecoded(self, table: Any) -> Any:
        """The table with the bytes of its images, and nothing else that is not needed."""
        from datasets import Image as ImageFeature

        kept = [name for name in (self.image, self.label, self.objects) if name]
        chosen = table.select_columns(kept)
        if getattr(self.features[self.image], "dtype", None) in ("binary", "large_binary"):
            return chosen  # nothing but the bytes of the files
        return chosen.cast_column(self.image, ImageFeature(decode=False))

    def values(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """What a row says of its image; None if nothing."""
        said: dict[str, Any] = {}
        if self.label:
            if (label := _named(row[self.label], self.features[self.label])) is None:
                return None
            said["label"] = label
        if self.objects:
            said["objects"] = _named(row[self.objects], self.features[self.objects])
        return said


def _is_bytes(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.keys() == {"bytes", "path"}


def _named(value: Any, feature: Any) -> Any:
    """A value with the names of its classes in place of their numbers; -1, which the hub has for unknown, is None."""
    from datasets import ClassLabel

    inner = getattr(feature, "feature", feature)  # of a sequence
    if isinstance(value, list | tuple):
        inner = feature[0] if isinstance(feature, list) and feature else inner
        return [_named(one, inner) for one in value]
    if isinstance(value, dict):
        of = inner if isinstance(inner, dict) else {}
        return {name: _named(one, of.get(name)) for name, one in value.items() if name in (*BOXES, *CATEGORIES)}
    if isinstance(feature, ClassLabel):
        return feature.int2str(value) if isinstance(value, int) and 0 <= value < feature.num_classes else None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _image(value: Any, source: Source, folder: Path, part: str, number: int) -> str | None:
    """Write an image's bytes; its path below the folder, or None if they are none that is read."""
    value = {"bytes": value} if isinstance(value, bytes) else value or {}
    content, name = value.get("bytes"), str(value.get("path") or "")
    try:
        if content is None and source.may_read(Path(name)):
            content = Path(name).read_bytes()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            suffix = _SUFFIXES.get(image.format or "", f".{(image.format or 'img').lower()}")
    except Exception:  # whatever a damaged header makes Pillow raise: training would leave it out too
        return None
    stem = re.sub(r"[^\w.-]+", "_", re.split(r"[/\\]", name)[-1].rpartition(".")[0])[:80]
    file = f"{part}/{number // IN_A_FOLDER:04d}/{number:06d}{f'-{stem}' if stem else ''}{suffix}"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(content)
    return file
