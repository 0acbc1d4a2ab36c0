"""Command-line arguments of an option class: names, types and defaults from its fields, help from its docstring."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, get_type_hints

import docstring_parser
import yaml
from jsonargparse import SUPPRESS, ActionYesNo, ArgumentError, ArgumentParser, Namespace

from mixtransfer.commandline.help import HelpFormatter, metavar, usage, with_choices
from mixtransfer.common.typed import (
    SWITCHES,
    Options,
    fitted,
    in_words,
    mistakes_in,
    near,
    parser_of,
    read_yaml,
    takes,
)
from mixtransfer.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Positionals = Mapping[str, str | None]  # argparse's number of values of each
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
            own = {name: fitted(value, hints.get(str(name))) for name, value in found.items()}
            if repr(own) != repr(found):
                piece[1] = yaml.safe_dump(own)
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
    parser = parser_of(cls)
    kinds = {f"--{name.replace('_', '-')}": kind for name, kind in get_type_hints(cls).items()}
    kinds |= {f"--no-{option[2:]}": kind for option, kind in kinds.items() if kind in SWITCHES}
    placed = []
    for option, *value in _pieces(cls, argv):
        if option == "--":
            return
        if not option.startswith("-"):
            placed.append(option)
        elif option == "--config" and value:
            yield from mistakes_in(parser, cls, read_yaml(value[0]))
        elif option.split(".")[0] not in {*kinds, "--config", "--print-config"}:
            yield f"There is no option {option}{near(option, list(kinds))}"
        elif not takes(parser.parse_args, ["=".join([option, *value])]):
            kind = in_words(kinds.get(option, str))
            yield f"{option} takes {kind}{f', not {value[0]!r}' if value else ''}."
    needed = [key for key, count in positionals.items() if count in (None, "+")]
    if len(placed) < len(needed):
        yield f"{needed[len(placed)]} is missing; see --help."
    if len(placed) > len(positionals) and not {"*", "+"} & {*positionals.values()}:
        yield f"The argument {placed[len(positionals)]!r} is one too many."
