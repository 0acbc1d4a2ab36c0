"""The command line: verbs to functions. An option class is a verb's interface, its docstring the help."""

import contextlib
import difflib
import importlib
import io
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mixtransfer import __version__
from mixtransfer.commandline.recipes import find_recipe
from mixtransfer.common.process import let_waiting_threads_sleep, prepare_process
from mixtransfer.common.signals import TERMINATED, interruptible, sigterm_as_ctrl_c
from mixtransfer.errors import Interrupted, UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


@dataclass(frozen=True)
class Verb:
    """A command.

    Attributes:
        help: One line for the list of commands.
        options: The class of its options, as "module:Class".
        run: The function that takes them and returns an exit code or None, as "module:function".
        positionals: Options given by position, with argparse's number of values.
        recipes: The function that reads a --config file in Python, as "module:function".
    """

    help: str
    options: str
    run: str
    positionals: dict[str, str | None]
    recipes: str | None = None


VERBS: dict[str, Verb] = {
    "demo": Verb(
        "train a MixNet on embedded handwritten digits: no download, a few minutes",
        "mixtransfer.commandline.demo:DemoOptions", "mixtransfer.commandline.demo:demo", {},
    ),
    "recipes": Verb(
        "list the recipes that come along, for --config",
        "mixtransfer.commandline.recipes:RecipesOptions", "mixtransfer.commandline.recipes:recipes", {},
    ),
    "install-detectron2": Verb(
        "install detectron2, which detection needs and no package registry has",
        "mixtransfer.detection.install:InstallOptions", "mixtransfer.detection.install:install", {},
    ),
    "models": Verb(
        "list the backbones with their measured and published size, cost and accuracy",
        "mixtransfer.commandline.listing:ModelsOptions", "mixtransfer.commandline.listing:models", {},
    ),
    "doctor": Verb(
        "look for what spoils a training: broken files, duplicates, leaks, bad boxes, wrong labels",
        "mixtransfer.doctor.options:DoctorOptions", "mixtransfer.doctor.commands:doctor", {"data": None},
    ),
    "classify train": Verb(
        "fine-tune a backbone on your images",
        "mixtransfer.classification.options:TrainOptions", "mixtransfer.classification.commands:train",
        {"data": "?"},
    ),
    "classify evaluate": Verb(
        "score a run's model on labelled images, with intervals",
        "mixtransfer.classification.options:EvaluateOptions", "mixtransfer.classification.commands:evaluate",
        {"run": None, "data": "?"},
    ),
    "classify predict": Verb(
        "classify image files, folders and globs",
        "mixtransfer.classification.options:PredictOptions", "mixtransfer.deploy.commands:classify",
        {"run": None, "images": "+"},
    ),
    "compare": Verb(
        "compare backbones on your data: accuracy, size, latency, with their uncertainty",
        "mixtransfer.comparison.options:CompareOptions", "mixtransfer.comparison.commands:compare",
        {"data": "*"},
    ),
    "app": Verb(
        "open a local web page to try one or two models on images",
        "mixtransfer.app.options:AppOptions", "mixtransfer.app.serve:app",
        {"runs": "+"},
    ),
    "tune": Verb(
        "choose the settings of a training by trials, and see whether they beat the defaults",
        "mixtransfer.tune.options:TuneOptions", "mixtransfer.tune.commands:tune",
        {"data": "?"},
    ),
    "search": Verb(
        "search for a network of your own within a budget of multiply-adds",
        "mixtransfer.search.options:SearchOptions", "mixtransfer.search.commands:search",
        {"data": "?"},
    ),
    "detect demo": Verb(
        "train a detector on embedded digits and photographs: no download, some minutes",
        "mixtransfer.detection.options:DemoOptions", "mixtransfer.detection.commands:demo", {},
    ),
    "detect train": Verb(
        "train an SSDLite detector on your images with boxes",
        "mixtransfer.detection.options:TrainOptions", "mixtransfer.detection.commands:train",
        {"data": "?"}, "mixtransfer.detection.recipes:read_recipe",
    ),
    "detect evaluate": Verb(
        "score a run's detector: COCO's average precision",
        "mixtransfer.detection.options:EvaluateOptions", "mixtransfer.detection.commands:evaluate",
        {"run": None, "data": "?"},
    ),
    "detect predict": Verb(
        "find objects in images and videos",
        "mixtransfer.detection.options:PredictOptions", "mixtransfer.deploy.commands:detect",
        {"run": None, "images": "+"},
    ),
    "export": Verb(
        "write a run's model for ONNX Runtime, OpenVINO, torch.export, ExecuTorch, LiteRT or Core ML",
        "mixtransfer.deploy.options:ExportOptions", "mixtransfer.deploy.commands:export",
        {"run": None},
    ),
    "push": Verb(
        "publish a run's model on the Hugging Face hub, with a model card",
        "mixtransfer.deploy.options:PushOptions", "mixtransfer.deploy.commands:push",
        {"run": None, "name": None},
    ),
    "benchmark": Verb(
        "measure a model's latency, throughput and memory here, by runtime, batch and threads",
        "mixtransfer.deploy.options:BenchmarkOptions", "mixtransfer.deploy.commands:benchmark",
        {"model": None},
    ),
}  # fmt: skip


GROUPS = {
    "classify": "train, evaluate, predict: which class an image is of",
    "detect": "demo, train, evaluate, predict: which objects are where in an image",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    The exit code is 2 after an error that the user can mend, 130 after Ctrl-C, 143 after SIGTERM.
    """
    let_waiting_threads_sleep()
    with sigterm_as_ctrl_c() as received:
        code = _run(argv)
        return TERMINATED if signal.SIGTERM in received and code == 130 else code


def _run(argv: Sequence[str] | None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a pipe or a log shows progress as it comes, too
        with contextlib.suppress(OSError):
            sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal knows every letter of a file's name
    debug = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    try:
        # Options are parsed before anything heavy is imported, so that a typing error is answered at once.
        verb, options = _parsed(argv)
        prepare_process()
        with interruptible(lambda: ""):  # a verb that can go on says so itself
            return _load(verb.run)(options) or 0
    except UserError as error:
        if debug:
            traceback.print_exc()
        return _fail(_last_sentence(error))
    except Interrupted as error:
        print(f"\n{error}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if debug or error.filename is None and error.errno is None:
            raise
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")


def _parsed(argv: list[str]) -> tuple[Verb, Any]:
    """The command that is called, and its options.

    Raises:
        SystemExit: After the help or the version, which has been printed.
        UserError: There is no such command, or its options are wrong.
    """
    from jsonargparse import ArgumentError

    name = next((name for name in VERBS if argv[: name.count(" ") + 1] == name.split()), "")
    if not name:
        if argv in ([], ["help"], *([group] for group in GROUPS)):
            argv = [word for word in argv if word != "help"] + ["--help"]
        try:
            command_parser().parse_args(argv)
        except ArgumentError as error:
            raise UserError(_no_such_command(argv)) from error
    from mixtransfer.commandline.arguments import from_values, mistake, prepared

    verb = VERBS[name]
    words = name.split()
    cls = _load(verb.options)
    rest = prepared(cls, _with_recipes(verb, argv[len(words) :]))
    try:
        found = command_parser(name).parse_args([*words, *rest])
    except ArgumentError as error:
        raise UserError(mistake(cls, verb.positionals, rest, error)) from error
    return verb, from_values(cls, verb.positionals, rest, found[".".join(words)])


def command_parser(name: str = "") -> "ArgumentParser":
    """The parser of all commands, with the options of one of them: so the others need not be imported."""
    from jsonargparse import ArgumentParser

    from mixtransfer.commandline.help import HelpFormatter

    settings: dict[str, Any] = {"exit_on_error": False, "allow_abbrev": False, "formatter_class": HelpFormatter}
    listed: dict[str, Any] = {
        "dest": "command",
        "title": "commands",
        "description": None,
        "metavar": "COMMAND",
        "help": "Each has its own --help.",
    }
    parser = ArgumentParser(
        prog="mixtransfer",
        usage="mixtransfer COMMAND [OPTIONS]",
        description="Fine-tune small, accurate image models on your own data.",
        epilog="--debug adds the traceback to an error.",
        version=__version__,
        **settings,
    )
    every = {"": parser.add_subcommands(**listed)}
    for path, verb in VERBS.items():
        group, _, word = path.rpartition(" ")
        if group not in every:
            head = ArgumentParser(usage=f"mixtransfer {group} COMMAND [OPTIONS]", **settings)
            every[""].add_subcommand(group, head, help=GROUPS[group])
            every[group] = head.add_subcommands(**listed)
        own = _parser_of(name) if path == name else ArgumentParser(**settings)
        every[group].add_subcommand(word, own, help=verb.help)
    return parser


def _parser_of(name: str) -> "ArgumentParser":
    from mixtransfer.commandline.arguments import option_parser

    return option_parser(name, _load(VERBS[name].options), VERBS[name].positionals)


def _no_such_command(argv: list[str]) -> str:
    words = {name.split()[0] for name in VERBS}
    if argv[0] in words:
        verbs = ", ".join(name.split()[1] for name in VERBS if name.startswith(argv[0] + " "))
        return f"There is no command `{argv[0]} {argv[1]}`; {argv[0]} has {verbs}."
    near = difflib.get_close_matches(argv[0], words, n=1)
    meant = f"did you mean {near[0]!r}?" if near else "see mixtransfer --help."
    return f"There is no command {argv[0]!r}; {meant}"


def _with_recipes(verb: Verb, words: list[str]) -> list[str]:
    """The arguments with names of recipes replaced by their files, and those in Python by what they say, in YAML."""
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--config=") else [word])]
    for i, word in enumerate(words):
        if i and words[i - 1] == "--config":
            if "\n" not in word and ":" not in word and not Path(word).is_file():
                words[i] = str(find_recipe(word))
            if words[i].endswith(".py") and verb.recipes:
                words[i] = yaml.safe_dump(_load(verb.recipes)(words[i]))
    return words


def _load(place: str):
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def _last_sentence(error: Exception) -> str:
    """An error that a data-loading process raised arrives with that process's whole traceback around it."""
    text = str(error).strip()
    if text.startswith("Caught "):
        text = text.splitlines()[-1].split(": ", 1)[-1]
    return " ".join(text.splitlines())


def _fail(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
