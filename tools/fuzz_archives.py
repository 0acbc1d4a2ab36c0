"""Inputs for the readers of zip archives: valid ones with members, directory or bytes changed, and code put in.

The code that is put in makes the folder ``canary()``; whoever finds it there has run some of it.
"""

import io
import json
import os
import pickle
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from fuzz_inputs import changed
from hypothesis import strategies as st
from torch import nn


def canary() -> Path:
    """The folder that code in an input makes, one for each process."""
    return Path(tempfile.gettempdir()) / f"mixtransfer-canary-{os.getpid()}"


class Code:
    """An object that makes the folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (str(canary()),)


@dataclass(frozen=True)
class Entry:
    """A member, and what its two headers say of it."""

    name: bytes
    data: bytes
    local: bytes | None = None
    method: int = 0
    flags: int = 0
    zip64: bool = False
    size: int | None = None
    crc: int | None = None

    def headers(self, place: int) -> tuple[bytes, bytes]:
        """The local header with the data, and the entry of the directory."""
        packer = zlib.compressobj(wbits=-15)
        stored = packer.compress(self.data) + packer.flush() if self.method == 8 else self.data
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        size, packed = len(self.data) if self.size is None else self.size, len(stored)
        extra = struct.pack("<HHQQ", 1, 16, size, packed) if self.zip64 else b""
        sizes = (2**32 - 1, 2**32 - 1) if self.zip64 else (packed, size % 2**32)
        common = struct.pack("<HHHHHLLL", 20, self.flags, self.method, 0, 33, crc, *sizes)
        local = self.name if self.local is None else self.local
        head = b"PK\3\4" + common + struct.pack("<HH", len(local), len(extra)) + local + extra + stored
        tail = struct.pack("<HHHHHLL", len(self.name), len(extra), 0, 0, 0, 0, place % 2**32)
        return head, b"PK\1\2" + struct.pack("<H", 20) + common + tail + self.name + extra


@dataclass(frozen=True)
class Archive:
    """A zip archive in parts."""

    entries: list[Entry]
    before: bytes = b""
    after: bytes = b""
    comment: bytes = b""
    zip64: bool = False
    count: int | None = None
    shift: int = 0
    lost: int = 0  # bytes that the directory ends too early
    listed: list[int] | None = None  # order in the directory

    def to_bytes(self) -> bytes:
        body, directory = self.before, list[bytes]()
        for entry in self.entries:
            head, row = entry.headers(len(body) + self.shift)
            body, directory = body + head, [*directory, row]
        if self.listed is not None:
            directory = [directory[i % len(directory)] for i in self.listed] if directory else []
        rows = b"".join(directory)
        rows = rows[: len(rows) - self.lost]
        count, start = len(directory) if self.count is None else self.count, len(body) + self.shift
        end = b""
        if self.zip64:
            record = struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, count, count, len(rows), start)
            end = b"PK\6\6" + record + b"PK\6\7" + struct.pack("<LQL", 0, len(body) + len(rows), 1)
            count, start = 2**16 - 1, 2**32 - 1
        last = struct.pack("<HHHHLLH", 0, 0, count, count, len(rows), start % 2**32, len(self.comment))
        return body + rows + end + b"PK\5\6" + last + self.comment + self.after


def opened(data: bytes) -> Archive:
    """An archive that a library wrote, in parts."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return Archive([Entry(info.filename.encode(), archive.read(info)) for info in archive.infolist()])


def torch_file(value: object, new: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.ReLU()), buffer)
    return buffer.getvalue()


def pt2_file(describe: Callable[[], str]) -> bytes:
    """A .pt2 as `mixtransfer export` writes it, of a network of two layers for images of 8 pixels."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    program = torch.export.export(
        network.eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"mixtransfer.json": describe()})
    return buffer.getvalue()


def code_texts() -> list[str]:
    """Python that makes the folder, for where a text is evaluated, imported or written into source."""
    call = f"__import__('os').mkdir({str(canary())!r})"
    return [
        call,
        f"x=({call}, 1)[1]",
        f"x\n{call}\n",
        f'x"), {call}, getattr(self, "x',
        f"L['images'].size()[0] == ({call}, 2)[1]",
        "torch.os.mkdir",
        "torch.ops.aten.from_file.default",
        "torch.ops.higher_order.map_impl",
        "_operator.methodcaller",
        f'[1, {{"type": "builtins.dict", "context": "[{{\\"__enum__\\": true, \\"fqn\\": \\"os:{call}\\"}}]"}}]',
    ]


NAMES = [
    "data.pkl", "constants.pkl", "code/__torch__.py", "version", "models/other.json", "extra/other.json",
    "data/sample_inputs/model.PT", "data/Sample_Inputs/model.pt", "data/weights/model.pt", "data/constants/model.pt",
    "data/constants/custom_obj_0", "data/constants/opaque_obj_0", "data/aotinductor/model/x.so", "../x", "/etc/x",
    "C:\\x", "data\\sample_inputs\\model.pt", "data/sample_inputs/../sample_inputs/model.pt", "data//weights/weight_0",
    "data/sample_inputs/model.pt\0", "data/weights/weight_\uff10", "models/model.json/", "",
]  # fmt: skip


@st.composite
def archives(draw: st.DrawFn, valid: list[Archive]) -> bytes:
    """An archive of ``valid`` with one to three changes, sometimes cut or with bytes changed."""
    archive = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 3))):
        archive = draw(st.sampled_from(CHANGES))(draw, archive)
    data = bytearray(archive.to_bytes())
    how = draw(st.sampled_from(["whole"] * 6 + ["bytes", "bytes", "cut"]))
    if how == "cut":
        del data[draw(st.integers(0, len(data))) :]
    for _ in range(draw(st.integers(1, 4)) if how == "bytes" and data else 0):
        data[-1 - draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


def _with(archive: Archive, at: int, *entries: Entry) -> Archive:
    return replace(archive, entries=[*archive.entries[:at], *entries, *archive.entries[at + 1 :]])


def _payload(draw: st.DrawFn) -> bytes:
    makers = [lambda: pickle.dumps(Code(), 2), lambda: torch_file(Code()), lambda: torch_file({"x": Code()}, False)]
    return draw(st.sampled_from([*makers, lambda: b"", torchscript]))()


def _name(draw: st.DrawFn, name: bytes) -> bytes:
    """Another name for a member: in another case, elsewhere, or of another kind."""
    root, _, rest = name.partition(b"/")
    other = draw(st.sampled_from(NAMES)).encode()
    choices = [
        name.upper(), name.swapcase(), root + b"/" + rest.upper(), root.upper() + b"/" + rest, name[:-2] + b"PT",
        root + b"/" + other, other, b"../" + name, b"/" + name, b"./" + name, name.replace(b"/", b"\\"),
        b"other/" + rest, name + b"/", name + b"\0x", rest, name + b" ",
    ]  # fmt: skip
    return draw(st.sampled_from(choices))


def _change_entry(draw: st.DrawFn, archive: Archive) -> Archive:
    """One member differs: its name, its contents, or what a header says of it."""
    at, entry = _pick(draw, archive)
    if entry is None:
        return archive
    what = draw(st.sampled_from(list(FAULTS)))
    return _with(archive, at, replace(entry, **FAULTS[what](draw, entry)))


FAULTS: dict[str, Callable[[st.DrawFn, Entry], dict[str, Any]]] = {
    "name": lambda draw, entry: {"name": _name(draw, entry.name)},
    "local name": lambda draw, entry: {"local": _name(draw, entry.name)},
    "payload": lambda draw, entry: {"data": _payload(draw)},
    "empty": lambda draw, entry: {"data": b""},
    "method": lambda draw, entry: {"method": draw(st.sampled_from([8, 12, 14, 99]))},
    "flags": lambda draw, entry: {"flags": draw(st.sampled_from([1, 8, 32, 64, 2048, 8192]))},
    "zip64": lambda draw, entry: {"zip64": True},
    "size": lambda draw, entry: {"size": draw(st.sampled_from([0, 1, 2**31, 2**62])), "zip64": draw(st.booleans())},
    "crc": lambda draw, entry: {"crc": draw(st.integers(0, 2**32 - 1))},
}


def _change_document(draw: st.DrawFn, archive: Archive) -> Archive:
    """A JSON member with values replaced, or one of its texts or keys by code."""
    places = [i for i, entry in enumerate(archive.entries) if entry.name.endswith(b".json")]
    if not places:
        return archive
    at = draw(st.sampled_from(places))
    entry = archive.entries[at]
    try:
        document = json.loads(entry.data)
        if not isinstance(document, dict) or not document:
            return archive
    except (ValueError, RecursionError):
        return archive
    if draw(st.booleans()):
        document = draw(changed(document))
    else:
        holders: list[tuple[Any, Any]] = []
        _texts(document, holders)
        if not holders:
            return archive
        holder, key = draw(st.sampled_from(holders))
        code = draw(st.sampled_from(code_texts()))
        if isinstance(holder, dict) and draw(st.integers(0, 4)) == 0:
            holder[code] = holder.pop(key)
        else:
            holder[key] = draw(st.sampled_from([code, [code], {"as_string": code}]))
    return _with(archive, at, replace(entry, data=json.dumps(document).encode()))


def _texts(value: Any, holders: list[tuple[Any, Any]]) -> None:
    """Where in a document a text stands, or an empty container."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        part = value[key]
        if isinstance(part, dict | list) and part:
            _texts(part, holders)
        elif isinstance(part, str | dict | list) or part is None:
            holders.append((value, key))


def _change_members(draw: st.DrawFn, archive: Archive) -> Archive:
    """A member more or less, twice, or elsewhere in the order."""
    at, entry = _pick(draw, archive)
    if entry is None:
        return archive
    how = draw(st.sampled_from(["twice", "code before", "code after", "code more", "none", "move", "order"]))
    if how == "none":
        return _with(archive, at)
    if how == "move":
        archive = _with(archive, at)
        place = draw(st.integers(0, len(archive.entries)))
        return replace(archive, entries=[*archive.entries[:place], entry, *archive.entries[place:]])
    if how == "order":
        count = len(archive.entries)
        return replace(archive, listed=draw(st.lists(st.integers(0, count - 1), max_size=count + 2)))
    if how == "twice":
        return _with(archive, at, entry, entry)
    name = draw(st.sampled_from([entry.name, _name(draw, entry.name)]))
    if how == "code more":
        name = entry.name.partition(b"/")[0] + b"/" + draw(st.sampled_from(NAMES)).encode()
    code = Entry(name, _payload(draw))
    return _with(archive, at, *((entry, code) if how == "code after" else (code, entry)))


def _change_frame(draw: st.DrawFn, archive: Archive) -> Archive:
    """What surrounds the members: the directory, its end, and what lies before and after."""
    other = Archive([Entry(b"a/data.pkl", pickle.dumps(Code(), 2)), Entry(b"a/version", b"3")]).to_bytes()
    junk = draw(st.sampled_from([other, b"x", b"\0" * 30, b"PK\5\6" + b"\0" * 18, b"PK\3\4"]))
    frames: list[dict[str, Any]] = [
        {"before": junk}, {"after": junk}, {"comment": junk}, {"zip64": True}, {"shift": draw(st.integers(-99, 99))},
        {"count": draw(st.sampled_from([0, 1, 2, 999]))}, {"lost": draw(st.integers(1, 60))},
        {"before": junk, "shift": -len(junk)}, {"zip64": True, "after": junk},
    ]  # fmt: skip
    return replace(archive, **draw(st.sampled_from(frames)))


def _pick(draw: st.DrawFn, archive: Archive) -> tuple[int, Entry | None]:
    """A member, more often one of the last, which are not plain tensors."""
    count = len(archive.entries)
    if not count:
        return 0, None
    at = count - 1 - draw(st.integers(0, count - 1))
    return at, archive.entries[at]


CHANGES = [_change_entry, _change_document, _change_document, _change_members, _change_frame]
