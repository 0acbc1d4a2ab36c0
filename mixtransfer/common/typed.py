"""An option class from values by name: each checked by the type of its field, with a sentence on what is wrong."""

import difflib
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from jsonargparse import ActionYesNo, ArgumentError, ArgumentParser

from mixtransfer.common.plain_yaml import load_plain_yaml
from mixtransfer.common.ranges import as_whole
from mixtransfer.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")
SWITCHES = (bool, bool | None)


def checked(cls: type[Options], values: dict[str, Any]) -> Options:
    """An option class of values by name, checked as if they stood in a file.

    Raises:
        UserError: A value is of the wrong kind, or one that is needed is missing.
    """
    parser, hints = parser_of(cls), get_type_hints(cls)
    values = {name: fitted(value, hints.get(name)) for name, value in values.items()}
    try:
        found = parser.parse_object(values).as_dict()
    except ArgumentError as error:
        raise UserError(next(mistakes_in(parser, cls, values), str(error))) from error
    for field in fields(cls):
        if field.default is MISSING and field.default_factory is MISSING and found[field.name] is None:
            raise UserError(f"{field.name} is missing.")
        if field.default_factory is not MISSING and found[field.name] is None:
            found[field.name] = field.default_factory()
    return cls(**{field.name: found[field.name] for field in fields(cls)})


def parser_of(cls: "type[DataclassInstance]") -> ArgumentParser:
    """What knows the kinds of an option class's fields, without a word of help."""
    parser, hints = ArgumentParser(exit_on_error=False), get_type_hints(cls)
    for field in fields(cls):
        option, kind = "--" + field.name.replace("_", "-"), hints[field.name]
        default = None if field.default is MISSING else field.default
        if kind in SWITCHES:
            parser.add_argument(option, action=ActionYesNo(no_prefix="no-"), nargs="?", default=default)
        else:
            parser.add_argument(option, type=kind, default=default)
    return parser


def fitted(value: Any, kind: Any) -> Any:
    """A number as an option has it that takes numbers as texts, such as "32", or whole ones only."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if any(get_origin(part) is Literal and f"{value:g}" in get_args(part) for part in parts):
        return f"{value:g}"
    number = as_whole(value) if int in parts and float not in parts else None
    return value if number is None else number


def mistakes_in(parser: ArgumentParser, cls: "type[DataclassInstance]", values: dict[str, Any]) -> Iterator[str]:
    """A sentence on each value that cannot be."""
    hints = get_type_hints(cls)
    for key, value in values.items():
        if key not in hints:
            yield f"The configuration has the key {key!r}, which is no option{near(key, list(hints))}"
        elif not takes(parser.parse_object, {key: value}):
            yield f"--{key.replace('_', '-')} takes {in_words(hints[key])}, not {str(value)!r}."


def takes(parse: Callable[[Any], Any], given: Any) -> bool:
    """Whether a parser takes what is given."""
    try:
        parse(given)
    except ArgumentError:
        return False
    return True


def read_yaml(value: str) -> dict[str, Any]:
    """What a configuration says, which is a file or the text of one.

    Raises:
        UserError: It is no plain YAML of keys and values.
    """
    try:
        is_file = "\n" not in value and Path(value).is_file()
        found = load_plain_yaml(Path(value).read_text(encoding="utf-8") if is_file else value)
    except (OSError, ValueError) as error:
        raise UserError(f"The configuration file {value} is not valid YAML: {error}.") from error
    if not isinstance(found, dict):
        lacks = (
            f"The configuration file {value} has no keys." if is_file else f"There is no configuration file {value}."
        )
        raise UserError(lacks)
    return found


def near(word: str, names: Sequence[str]) -> str:
    """The end of a sentence on a name that there is none of."""
    found = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {found[0]}?" if found else "; see --help."


def in_words(kind: Any) -> str:
    """What a type is, for a user."""
    names = {int: "a whole number", float: "a number", str: "a text", bool: "yes or no"}
    if get_origin(kind) is Literal:
        return " or ".join(str(choice) for choice in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(in_words(part) for part in get_args(kind) if part is not type(None))
    return names.get(kind, str(kind))
