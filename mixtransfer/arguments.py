"""Command-line arguments of an option class: names, types and defaults from its fields, help from its docstring."""

import difflib
import re
import types
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import SUPPRESS, ActionYesNo, ArgumentError, ArgumentParser

from mixtransfer.errors import UserError
from mixtransfer.help import HelpFormatter, metavar, usage, with_choices
from mixtransfer.plain_yaml import load_plain_yaml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


def parse(name: str, cls: type[Options], positionals: dict[str, str | None], argv: Sequence[str]) -> Options:
    """Parse the arguments of the command ``name`` to an instance of its option class.

    Every option can also stand in a YAML file given by ``--config``; what is on the command line wins.

    Raises:
        UserError: An argument or a key of a file is unknown, or a value is of the wrong kind.
    """
    parser = _parser(name, cls, positionals)
    for option, value in zip(argv, argv[1:], strict=False):
        if option == "--config":
            _check_yaml(value)
    try:
        values = parser.parse_args([_with_dashes(word) for word in argv]).as_dict()
    except ArgumentError as error:
        raise UserError(_sentence(str(error), cls)) from error
    for key, count in positionals.items():
        if count in ("?", "*") and (given := values.pop(f"{key}_given")):
            values[key] = given
    return cls(**{field.name: values[field.name] for field in fields(cls)})


def checked(cls: type[Options], values: dict[str, Any]) -> Options:
    """An option class of values by name, checked as if they stood in a file.

    Raises:
        UserError: A value is of the wrong kind, or one that is needed is missing.
    """
    parser = _parser("", cls, {})
    try:
        found = parser.parse_object(values).as_dict()
    except ArgumentError as error:
        raise UserError(_sentence(str(error), cls)) from error
    for field in fields(cls):
        if field.default is MISSING and field.default_factory is MISSING and found[field.name] is None:
            raise UserError(f"{field.name} is missing.")
        if field.default_factory is not MISSING and found[field.name] is None:
            found[field.name] = field.default_factory()
    return cls(**{field.name: found[field.name] for field in fields(cls)})


def _parser(name: str, cls: "type[DataclassInstance]", positionals: dict[str, str | None]) -> ArgumentParser:
    described = docstring_parser.parse(cls.__doc__)
    helps = {entry.arg_name: " ".join((entry.description or "").split()) for entry in described.params}
    hints = get_type_hints(cls)
    parser = ArgumentParser(
        prog=f"mixtransfer {name}",
        usage=usage(name, positionals),
        formatter_class=HelpFormatter,
        description=f"{described.short_description} {described.long_description or ''}".strip(),
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", metavar="FILE", help="A YAML file with any of these options.")
    for key, count in positionals.items():
        if count in ("?", "*"):
            # Positionals shadow a file's keys, so these have a name of their own; see `parse`.
            many = {"type": str} if count == "*" else {"type": str | None}
            parser.add_argument(f"{key}_given", nargs=count, metavar=key.upper(), help=helps[key], **many)
            parser.add_argument(f"--{key}", type=hints[key], default=[] if count == "*" else None, help=SUPPRESS)
        elif count == "+":
            parser.add_argument(key, nargs="+", metavar=key.upper().removesuffix("S"), help=helps[key])
        else:
            parser.add_argument(key, metavar=key.upper(), help=helps[key])
    for field in fields(cls):
        if field.name in positionals:
            continue
        option = "--" + field.name.replace("_", "-")
        default = None if field.default is MISSING else field.default
        if hints[field.name] in (bool, bool | None):
            parser.add_argument(option, action=ActionYesNo, nargs="?", default=default, help=helps[field.name])
        else:
            kind = hints[field.name]
            shown, text = metavar(field.name, kind), helps[field.name]
            if "|" not in shown:
                text = with_choices(text, kind)
            if field.metadata.get("hidden"):  # only files and programs set it
                text = SUPPRESS
            parser.add_argument(option, type=kind, default=default, metavar=shown, help=text)
    return parser


def _check_yaml(value: str) -> None:
    """Have a file that is not plain YAML be one sentence."""
    try:
        if "\n" not in value and Path(value).is_file():  # a recipe comes as YAML itself
            load_plain_yaml(Path(value).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The configuration file {value} is not valid YAML: {error}.") from error


def _with_dashes(word: str) -> str:
    """Accept --batch_size for --batch-size."""
    if not word.startswith("--") or word.startswith("--no_") or word.startswith("--print_"):
        return word
    option, equals, value = word.partition("=")
    return option.replace("_", "-").replace("--no-", "--no_").replace("--print-", "--print_") + equals + value


def _sentence(message: str, cls: "type[DataclassInstance]") -> str:
    """One sentence of what jsonargparse says over several lines."""
    names = [field.name for field in fields(cls)]
    flat = " ".join(message.split())
    if found := re.match(r"unrecognized arguments: (.*)", flat, re.IGNORECASE):
        word = found[1].split()[0]
        if not word.startswith("-"):
            return f"The argument {word!r} is one too many."
        option = word.split("=")[0]
        return f"There is no option {option}{_near(option.lstrip('-').replace('-', '_'), names, '--')}"
    if found := re.search(r"Option '([^']*)' is not accepted", flat):
        return f"The configuration has the key {found[1]!r}, which is no option{_near(found[1], names)}"
    if found := re.match(r'Parser key "([\w.]+)"', flat):
        key, value = found[1], re.search(r"(?:Given value|Got value): (.*)$", flat)
        if key in names and value:
            kind = _in_words(get_type_hints(cls)[key])
            return f"--{key.replace('_', '-')} takes {kind}, not {value[1]!r}."
        return f"--{key.replace('_', '-')}: {flat[len(found[0]) :].lstrip(': ')}."
    if flat.startswith("Problems parsing config"):
        return f"The configuration file is not valid YAML: {flat.split(':', 1)[1].strip()}."
    if found := re.search(r"the following arguments are required: (.*)", flat):
        return f"{found[1]} is missing; see --help."
    return flat[:1].upper() + flat[1:].rstrip(".") + "."


def _near(word: str, names: Sequence[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(word, names, n=1)
    shown = near and (prefix + (near[0].replace("_", "-") if prefix else near[0]))
    return f"; did you mean {shown}?" if near else "; see --help."


def _in_words(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "yes or no"}
    if get_origin(kind) is Literal:
        return " or ".join(str(choice) for choice in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_in_words(part) for part in get_args(kind) if part is not type(None))
    return names.get(kind, str(kind))
