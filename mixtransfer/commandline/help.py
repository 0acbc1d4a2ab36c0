"""How a command's help is laid out: on one screen, each option with what it takes and its default."""

import argparse
import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ActionYesNo

STANDARD = {
    "--help": "Show this and exit.",
    "--print-config": "Print the configuration that all of this makes, and exit.",
}
COUNTS = {None: "{}", "?": "[{}]", "*": "[{} ...]", "+": "{0} [{0} ...]"}  # by argparse's number of values


class HelpFormatter(argparse.HelpFormatter):
    """argparse's layout without types, and without defaults that say nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"max_help_position": 27, **kwargs})

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, ActionYesNo):
            return ", ".join(action.option_strings[: 2 if action.default else 1])
        if "--print-config" in action.option_strings:
            return "--print-config"
        return super()._format_action_invocation(action)

    def _expand_help(self, action: argparse.Action) -> str:
        """Without argparse's interpolation, so that a help text may speak of per cent."""
        for option, text in STANDARD.items():
            if option in action.option_strings:
                return text
        if not action.option_strings or action.default in (None, argparse.SUPPRESS) or action.default is False:
            return str(action.help)
        return f"{action.help} [{'yes' if action.default is True else action.default}]"


def usage(name: str, positionals: Mapping[str, str | None]) -> str:
    """The usage line: the options are listed below it anyway."""
    words = [COUNTS[count].format(key.upper().removesuffix("S")) for key, count in positionals.items()]
    return " ".join(["mixtransfer", name, *words, "[OPTIONS]"])


def metavar(name: str, kind: Any) -> str:
    """What stands for an option's value: N for a whole number, X for a number, its choices if short, or its name."""
    if get_origin(kind) in (Union, UnionType):
        return "|".join(metavar(name, part) for part in get_args(kind) if part is not type(None))
    named = name.split("_")[-1].upper()
    if get_origin(kind) is Literal:
        choices = "|".join(map(str, get_args(kind)))
        return choices if len(choices) + len(name) < 22 else named
    return {int: "N", float: "X", bool: "yes|no"}.get(kind, named)


def with_choices(text: str, kind: Any) -> str:
    """The help text of an option, with the choices that it does not speak of and that ``metavar`` leaves out."""
    choices = list(map(str, get_args(kind))) if get_origin(kind) is Literal else []
    told = all(re.search(rf"(?<![\w-]){choice}(?![\w-])", text) for choice in choices)
    return text if told else f"{text.removesuffix('.')}: {', '.join(choices)}."
