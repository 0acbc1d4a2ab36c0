"""A .pt2 that may come from a stranger: torch is given a new archive of what was verified here, never the file.

``torch.export.load`` by itself unpickles, runs guards that are Python, imports what a tree of arguments names, calls
any function of torch's, writes names into source that it runs, and takes ``model.PT`` for ``model.pt``.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

from mixtransfer.deploy.metadata import KEY
from mixtransfer.deploy.operators import OPERATORS

LARGEST_TEXT = 2**26  # bytes of a JSON member; MixNet-L's graph has 2 MB

_PROGRAM, _EXAMPLE, _DESCRIPTION = "models/model.json", "data/sample_inputs/model.pt", f"extra/{KEY}.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_MARKS = ("archive_format", "archive_version", "byteorder", ".data/version")
_TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d{1,6}", re.ASCII)
_REQUIRED = frozenset((_PROGRAM, *_CONFIGS))
_KNOWN = _REQUIRED | {_EXAMPLE, _DESCRIPTION, *_MARKS, ".data/serialization_id"}

# Where a text may stand in the JSON members, and what it may be. FX writes names and attributes into source code.
_NAME = r"(?!__)[A-Za-z_]\w{0,300}"
_ATTRIBUTE = r"(?!__)\w{1,100}(\.(?!__)\w{1,100}){0,20}"
_SYMBOL = r"[a-z]{1,4}\d{1,4}"
_EXPRESSION = (  # which sympy evaluates as Python; without powers, which need not end
    r"(?!.*\*\*)(\b(Symbol|Integer|Add|Mul|Max|Min|Mod|FloorDiv|Equality|Unequality|(Strict)?(Greater|Less)Than"
    r"|True|False|integer|positive|nonnegative)\b|'?\b[su]\d{1,4}\b'?|\b\d{1,18}\b|[-+*/(),= ])*"
)
_TREE = r'(\[1, |[][{}:, ]|"(type|context|children_spec|builtins\.(tuple|list|dict)|null|\[\])"|null)*'
_TEXTS = {
    "name": _NAME,
    "as_name": _NAME,
    "forward_arg_names": _NAME,
    "parameter_name": _ATTRIBUTE,
    "buffer_name": _ATTRIBUTE,
    "tensor_constant_name": _ATTRIBUTE,
    "path_name": r"(weight|tensor)_\d{1,6}",
    "expr_str": _EXPRESSION,
    "as_string": r"[\w .,:;<>=+*/()'-]{0,300}",
    "type": "cpu",
    "fqn": "",
    "in_spec": _TREE,
    "out_spec": _TREE,
    "verifiers": r"[A-Z]{1,20}",
    "torch_version": r"[\w.+]{1,60}",
}
_TEXT = {key: re.compile(pattern, re.ASCII) for key, pattern in _TEXTS.items()}

# Objects whose keys are names; those of all others are the schema's.
_MAPS = {
    "tensor_values": _NAME,
    "sym_int_values": _NAME,
    "sym_float_values": _NAME,
    "sym_bool_values": _NAME,
    "range_constraints": _SYMBOL,
    "opset_version": _NAME,
    "config": _ATTRIBUTE,
}
_MAP = {key: re.compile(pattern, re.ASCII) for key, pattern in _MAPS.items()}
_KEYS = frozenset(
    """arg as_bool as_bools as_device as_expr as_float as_floats as_int as_ints as_layout as_memory_format as_name
    as_none as_optional_tensor as_optional_tensors as_scalar_type as_string as_sym_bool as_sym_float as_sym_int
    as_sym_ints as_tensor as_tensors buffer buffer_name config custom_obj_values device dtype expr_str
    forward_arg_names fqn graph graph_module guards_code hint in_spec index input_specs inputs
    is_hop_single_tensor_return is_param is_single_tensor_return kind layout major max_val metadata min_val minor
    module_call_graph name nodes opset_version out_spec output_specs outputs parameter parameter_name path_name
    persistent range_constraints requires_grad schema_version signature sizes storage_offset strides sym_bool_values
    sym_float_values sym_int_values target tensor_constant tensor_constant_name tensor_meta tensor_values
    torch_version treespec_namedtuple_fields type use_pickle user_input user_output verifiers""".split()  # noqa: SIM905
)


class NotPlain(ValueError):
    """A file holds something else than tensors and operators; the message says what."""


def plain_archive(file: BinaryIO) -> tuple[io.BytesIO, str | None]:
    """An archive for ``torch.export.load`` of what a .pt2 holds, and the description that ``mixtransfer export`` wrote.

    Example inputs, lines of source code and all else that is not needed are left out; no pickle is left.

    Raises:
        NotPlain: It holds something that loading could run, or that ``mixtransfer export`` does not write.
        Exception: It is damaged; of what kind depends on the damage.
    """
    members = _read_members(file)
    plain = {name: data for name, data in members.items() if _TENSOR.fullmatch(name) or name in _MARKS}
    for name in _CONFIGS:
        plain[name] = _rewritten(name, members, lambda config: _check_tensors(config, members))
    plain[_PROGRAM] = _rewritten(_PROGRAM, members, _leave_out_source)
    _refuse_objects(members.get(_EXAMPLE, b""))
    plain[_EXAMPLE] = b""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in plain.items():
            archive.writestr(f"model/{name}", data)
    buffer.seek(0)
    description = members.get(_DESCRIPTION)
    return buffer, None if description is None else description.decode("utf-8")


def _read_members(file: BinaryIO) -> dict[str, bytes]:
    """The members by their names below the archive's one folder, of an archive that can be read in one way only."""
    members: dict[str, bytes] = {}
    with zipfile.ZipFile(file) as archive:
        file.seek(-22, io.SEEK_END)
        end = file.read()
        if end[:4] != b"PK\5\6" or end[-2:] != b"\0\0":
            raise NotPlain("something after its end")
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
        if not entries or entries[0].header_offset:
            raise NotPlain("something before its beginning")
        root, place = entries[0].orig_filename.partition("/")[0], 0
        for entry in entries:
            folder, _, name = entry.orig_filename.partition("/")
            if folder != root or not (name in _KNOWN or _TENSOR.fullmatch(name)):  # as written, in this case only
                raise NotPlain(repr(entry.orig_filename[-80:]))
            if name in members:
                raise NotPlain(f"{name} twice")
            stored = entry.compress_type == zipfile.ZIP_STORED and entry.file_size == entry.compress_size
            if not stored or entry.flag_bits & ~0x808:  # a size that follows the data, a name in UTF-8
                raise NotPlain(f"{name}, compressed or encrypted")
            if entry.header_offset < place:
                raise NotPlain(f"{name}, which lies in another member")
            place = entry.header_offset + 30 + len(name) + entry.file_size
            members[name] = archive.read(entry)
    if missing := sorted(_REQUIRED - members.keys()):
        raise NotPlain(f"no {missing[0]}")
    return members


def _rewritten(name: str, members: dict[str, bytes], change: Callable[[Any], None]) -> bytes:
    """A JSON member after a change, all of whose keys and texts are harmless."""
    if len(members[name]) > LARGEST_TEXT:
        raise NotPlain(f"{name} of {len(members[name]) >> 20} MB")
    value = json.loads(members[name])
    change(value)
    _check(value, name, "")
    return json.dumps(value).encode()


def _leave_out_source(program: Any) -> None:
    module = program["graph_module"]
    module["module_call_graph"] = module["module_call_graph"][:1]
    for node in module["graph"]["nodes"]:
        node["metadata"] = {}


def _check_tensors(config: Any, members: dict[str, bytes]) -> None:
    for payload in config["config"].values():
        if payload["use_pickle"] is not False:
            raise NotPlain("a pickled tensor")
        folder = "weights" if payload["path_name"].startswith("weight") else "constants"
        values = members.get(f"data/{folder}/{payload['path_name']}")
        # torch makes a tensor of any size where there are no bytes.
        if not values and {"as_int": 0} not in payload["tensor_meta"]["sizes"]:
            raise NotPlain("a tensor without its values")


def _check(value: object, member: str, key: str) -> None:
    if isinstance(value, dict):
        names = _MAP.get(key)
        for name, part in value.items():
            if not (names.fullmatch(name) if names else name in _KEYS):
                raise NotPlain(f"{name[:80]!r} in {member}")
            _check(part, member, "" if names else name)
    elif isinstance(value, list):
        for part in value:
            _check(part, member, key)
    elif isinstance(value, str):
        known = value in OPERATORS if key == "target" else key in _TEXT and _TEXT[key].fullmatch(value)
        if not known:
            raise NotPlain(f"{value[:80]!r} as {key} in {member}")


def _refuse_objects(data: bytes) -> None:
    """Refuse example inputs that are more than tensors, though they are never unpickled: who made them meant harm."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        objects = get_unsafe_globals_in_checkpoint(io.BytesIO(data)) if data else []  # read, not run
    except Exception:  # damaged bytes make it raise nearly anything
        raise NotPlain(f"{_EXAMPLE} of an unknown kind") from None
    if objects:
        raise NotPlain(f"{objects[0][:80]!r} in {_EXAMPLE}")
