"""Command-line arguments of an option class: names, types and defaults from its fields, help from its docstring."""

import difflib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
import yaml
from jsonargparse import SUPPRESS, ActionYesNo, ArgumentError, ArgumentParser, Namespace

from mixtransfer.errors import UserError
from mixtransfer.help import HelpFormatter, metavar, usage, with_choices
from mixtransfer.plain_yaml import load_plain_yaml
from mixtransfer.ranges import as_whole

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


Positionals = Mapping[str, str | None]  # argparse's number of values of each
SWITCHES = (bool, bool | None)
YES_OR_NO = ("yes", "no", "true", "false")


def parse(name: str, cls: type[Options], positionals: Positionals, argv: Sequence[str]) -> Options:
    """Parse the arguments of the command ``name`` to an instance of its option class.

    Every option can also stand in a YAML file given by ``--config``; what is on the command line wins.

    Raises:
        UserError: An argument or a key of a file is unknown, or a value is of the wrong kind.
    """
    argv = prepared(cls, argv)
    try:
        values = option_parser(name, cls, positionals).parse_args(argv)
    except ArgumentError as error:
        raise UserError(mistake(cls, positionals, argv, error)) from error
    return from_values(cls, positionals, argv, values)


def from_values(cls: type[Options], positionals: Positionals, argv: Sequence[str], found: Namespace) -> Options:
    """The options of what ``option_parser`` found in ``argv``.

    Raises:
        UserError: One is given by position and by name, with two values.
    """
    values = found.as_dict()
    given = {key: value for key in positionals if (value := values.get(f"{key}_given"))}
    named = {piece[0] for piece in _pieces(cls, argv)}
    for key, value in given.items():
        if f"--{key}" in named and values[key] != value:
            raise UserError(f"{key} is given twice, {value!r} and --{key} {values[key]!r}: leave one of them out.")
    return cls(**{field.name: {**values, **given}[field.name] for field in fields(cls)})


def checked(cls: type[Options], values: dict[str, Any]) -> Options:
    """An option class of values by name, checked as if they stood in a file.

    Raises:
        UserError: A value is of the wrong kind, or one that is needed is missing.
    """
    parser, hints = option_parser("", cls, {}), get_type_hints(cls)
    values = {name: _fitted(value, hints.get(name)) for name, value in values.items()}
    try:
        found = parser.parse_object(values).as_dict()
    except ArgumentError as error:
        raise UserError(next(_mistakes_in_file(parser, cls, values), str(error))) from error
    for field in fields(cls):
        if field.default is MISSING and field.default_factory is MISSING and found[field.name] is None:
            raise UserError(f"{field.name} is missing.")
        if field.default_factory is not MISSING and found[field.name] is None:
            found[field.name] = field.default_factory()
    return cls(**{field.name: found[field.name] for field in fields(cls)})


def _fitted(value: Any, kind: Any) -> Any:
    """A number as an option has it that takes numbers as texts, such as "32", or whole ones only."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if any(get_origin(part) is Literal and f"{value:g}" in get_args(part) for part in parts):
        return f"{value:g}"
    number = as_whole(value) if int in parts and float not in parts else None
    return value if number is None else number


def option_parser(name: str, cls: "type[DataclassInstance]", positionals: Positionals) -> ArgumentParser:
    """The parser of a command's options."""
    described = docstring_parser.parse(cls.__doc__)
    helps = {entry.arg_name: " ".join((entry.description or "").split()) for entry in described.params}
    hints = get_type_hints(cls)
    parser = ArgumentParser(
        prog=f"mixtransfer {name}",
        usage=usage(name, positionals),
        formatter_class=HelpFormatter,
        description=f"{described.short_description} {described.long_description or ''}".strip(),
        exit_on_error=False,
        allow_abbrev=False,
        print_config="--print-config",
    )
    parser.add_argument("--config", action="config", metavar="FILE", help="A YAML file with any of these options.")
    for key, count in positionals.items():
        if count in ("?", "*"):
            # Positionals shadow a file's keys, so these have a name of their own; see `from_values`.
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
        if hints[field.name] in SWITCHES:
            switch = ActionYesNo(no_prefix="no-")
            parser.add_argument(option, action=switch, nargs="?", default=default, help=helps[field.name])
        else:
            kind = hints[field.name]
            shown, text = metavar(field.name, kind), helps[field.name]
            if "|" not in shown:
                text = with_choices(text, kind)
            if field.metadata.get("hidden"):  # only files and programs set it
                text = SUPPRESS
            parser.add_argument(option, type=kind, default=default, metavar=shown, help=text)
    return parser


def prepared(cls: "type[DataclassInstance]", argv: Sequence[str]) -> list[str]:
    """Arguments as argparse understands them all: --batch-size for --batch_size, what is given by position first, and
    the numbers of a configuration as its options have them.

    Raises:
        UserError: A configuration among them cannot be read; jsonargparse would follow references without end.
    """
    pieces = list(_pieces(cls, argv))
    hints = get_type_hints(cls)
    for piece in pieces:
        if piece[0] == "--config" and piece[1:]:
            found = read_yaml(piece[1])
            fitted = {name: _fitted(value, hints.get(str(name))) for name, value in found.items()}
            if repr(fitted) != repr(found):
                piece[1] = yaml.safe_dump(fitted)
    if ["--"] in pieces:
        return list(argv)
    return ["=".join(piece) for piece in sorted(pieces, key=lambda piece: piece[0].startswith("-"))]


def _pieces(cls: "type[DataclassInstance]", argv: Sequence[str]) -> Iterator[list[str]]:
    """Each option with its value, if it has one, and each argument by itself."""
    hints = get_type_hints(cls)
    switches = {f"--{name.replace('_', '-')}" for name, kind in hints.items() if kind in SWITCHES}
    switches |= {f"--no-{switch[2:]}" for switch in switches} | {"--help", "--print-config"}
    words = list(argv)
    while words:
        option, equals, value = words.pop(0).partition("=")
        if not option.startswith("--") or option == "--":
            yield [option + equals + value]
            continue
        option = option.replace("_", "-")
        if equals:
            yield [option, value]
        elif words and (words[0].lower() in YES_OR_NO if option in switches else not words[0].startswith("--")):
            yield [option, words.pop(0)]
        else:
            yield [option]


def mistake(cls: "type[DataclassInstance]", positionals: Positionals, argv: Sequence[str], error: Exception) -> str:
    """What is wrong with arguments that could not be parsed, in one sentence.

    jsonargparse's error is a text, without the option and the value by themselves; so what was given is tried piece by
    piece.
    """
    text = " ".join(str(error).split())
    return next(_mistakes(cls, positionals, argv), f"{text[:1].upper()}{text[1:].rstrip('.')}.")


def _mistakes(cls: "type[DataclassInstance]", positionals: Positionals, argv: Sequence[str]) -> Iterator[str]:
    parser = option_parser("", cls, {})
    kinds = {f"--{name.replace('_', '-')}": kind for name, kind in get_type_hints(cls).items()}
    kinds |= {f"--no-{option[2:]}": kind for option, kind in kinds.items() if kind in SWITCHES}
    placed = []
    for option, *value in _pieces(cls, argv):
        if option == "--":
            return
        if not option.startswith("-"):
            placed.append(option)
        elif option == "--config" and value:
            yield from _mistakes_in_file(parser, cls, read_yaml(value[0]))
        elif option.split(".")[0] not in {*kinds, "--config", "--print-config"}:
            yield f"There is no option {option}{_near(option, list(kinds))}"
        elif not _takes(parser.parse_args, ["=".join([option, *value])]):
            kind = _in_words(kinds.get(option, str))
            yield f"{option} takes {kind}{f', not {value[0]!r}' if value else ''}."
    needed = [key for key, count in positionals.items() if count in (None, "+")]
    if len(placed) < len(needed):
        yield f"{needed[len(placed)]} is missing; see --help."
    if len(placed) > len(positionals) and not {"*", "+"} & {*positionals.values()}:
        yield f"The argument {placed[len(positionals)]!r} is one too many."


def _mistakes_in_file(parser: ArgumentParser, cls: "type[DataclassInstance]", values: dict[str, Any]) -> Iterator[str]:
    hints = get_type_hints(cls)
    for key, value in values.items():
        if key not in hints:
            yield f"The configuration has the key {key!r}, which is no option{_near(key, list(hints))}"
        elif not _takes(parser.parse_object, {key: value}):
            yield f"--{key.replace('_', '-')} takes {_in_words(hints[key])}, not {str(value)!r}."


def _takes(parse: Callable[[Any], Any], given: Any) -> bool:
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


def _near(word: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {near[0]}?" if near else "; see --help."


def _in_words(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "yes or no"}
    if get_origin(kind) is Literal:
        return " or ".join(str(choice) for choice in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_in_words(part) for part in get_args(kind) if part is not type(None))
    return names.get(kind, str(kind))
