"""What the commands do, as functions: ``mixtransfer.train``, ``compare``, ``export`` and, in ``detect``, ``train``."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mixtransfer.common.host import undisturbed
from mixtransfer.errors import UserError
from mixtransfer.runs.loggers import TRACKERS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    from mixtransfer.comparison.compare import Comparison
    from mixtransfer.deploy.export import Written
    from mixtransfer.runs.run import Run

Options = TypeVar("Options", bound="DataclassInstance")


def train(
    data: str | Path | None = None,
    *,
    callbacks: "Callback | Sequence[Callback] | None" = None,
    logger: "str | bool | Logger | Sequence[str | Logger] | None" = None,
    augment: Any = None,
    **options: Any,
) -> "Run":
    """Fine-tune a backbone on labelled images, as `mixtransfer classify train` does.

    Sentences on how it goes are logged by the logger "mixtransfer" of ``logging``. The state of all random generators
    is afterwards what it was.

    Args:
        data: A folder, a CSV manifest, or a name; leave it out to go on with ``resume=RUN``.
        callbacks: For Lightning's Trainer, beside our own. They are called in the training that makes the network,
            not in those of the folds that few images are judged by; where the head alone is kept there is no training.
        logger: Names as of ``--logger``, or loggers of Lightning; True is tensorboard, or csv where that is missing.
        augment: A policy, a file, or a transform; see ``mixtransfer.data.augment.as_augment``.
        options: The further options of the command by name, such as ``backbone="mixnet_s", epochs=5``: those of
            ``mixtransfer.TrainOptions``. ``config`` is a YAML file of them, or a name of `mixtransfer recipes`.

    Returns:
        The finished run (in all of several processes but the first there is none: None).

    Raises:
        UserError: An option or the data cannot be used.
        Interrupted: Ctrl-C; what is needed to resume has been written.
    """
    with undisturbed():  # by imports too, some of which draw
        from mixtransfer.classification.options import TrainOptions
        from mixtransfer.classification.train import train as train_run

        named, loggers = loggers_of(logger)
        given = _callbacks(callbacks)
        policy = {"augment": str(augment)} if isinstance(augment, str | Path) else {}
        settled = options_of(TrainOptions, {"data": data, "logger": named, **policy, **options})
        if settled.preview:
            raise UserError("preview is for the command: mixtransfer classify train DATA --preview.")
        return cast("Run", train_run(settled, callbacks=given, loggers=loggers, augment=None if policy else augment))


def compare(data: "str | Path | Run | Sequence[str | Path | Run]", **options: Any) -> "Comparison":
    """Compare backbones on data, or runs that exist already, as `mixtransfer compare` does.

    Trainings and measurements of memory have processes of their own, which import the script that is run: call it
    below ``if __name__ == "__main__":``.

    Args:
        data: A data set to train every backbone on, or two or more runs.
        options: The options of the command by name; ``backbones`` may be a list. See
            ``mixtransfer.comparison.options.CompareOptions``. ``config`` is as of ``train``.

    Raises:
        UserError: An option, the data or a run cannot be used.
    """
    from mixtransfer.comparison.compare import run_comparison
    from mixtransfer.comparison.options import CompareOptions

    if not isinstance(names := options.get("backbones"), str | None):
        listed = several_of(str, names, "backbones takes names")
        if not listed:
            raise UserError("backbones is empty: name one or more, or leave it out.")
        options["backbones"] = ",".join(listed)
    settled = options_of(CompareOptions, {"data": [path_of(one) for one in several(data)], **options})
    with undisturbed():
        return run_comparison(settled)


def export(run: "str | Path | Run", format: str = "onnx", **options: Any) -> "Written":
    """Write a run's model for other programs, as `mixtransfer export` does.

    Args:
        run: The run, or its folder.
        format: "onnx", "openvino", "torch", "executorch", "litert", "coreml" or "web".
        options: The further options of the command by name; see ``mixtransfer.deploy.options.ExportOptions``.

    Returns:
        The file, its size, and how it compares with PyTorch.

    Raises:
        UserError: See ``mixtransfer.deploy.export.export``.
    """
    from mixtransfer.deploy.export import export as export_run
    from mixtransfer.deploy.options import ExportOptions

    settled = options_of(ExportOptions, {"run": path_of(run), "format": format, **options})
    with undisturbed():
        return export_run(settled)


def path_of(run: "str | Path | Run") -> str:
    """The path of a run, or of whatever else is named by one.

    Raises:
        UserError: It is a network or anything else without a path, or the path cannot be looked at.
    """
    if hasattr(run, "state_dict"):
        raise UserError(
            f"A run or its folder is needed, not a {type(run).__name__}: write one by "
            "mixtransfer.save_run(module, folder)."
        )
    place = getattr(run, "folder", run)
    if not isinstance(place, str | PathLike):
        raise UserError(f"A run, its folder or another path or name is needed, not {run!r}.")
    try:
        Path(place).exists()
    except OSError as error:  # such as of a name that is too long
        raise UserError(f"{str(place)[:100]} cannot be looked at ({error.strerror}).") from error
    return str(place)


def options_of(
    kind: type[Options], values: dict[str, Any], recipes: Callable[[str], dict[str, Any]] | None = None
) -> Options:
    """Options from keywords, checked as the command line checks them; what is None is left at its default.

    Args:
        values: By name; among them ``config``, a file or recipe of values for the others.
        recipes: Reads a configuration in Python.

    Raises:
        UserError: A name is unknown, or a value of the wrong kind.
    """
    from mixtransfer.common.typed import checked

    names = [field.name for field in fields(kind)]
    given = {name: _plain(value) for name, value in values.items() if value is not None}
    if "config" in given:
        given = {**_configuration(str(given.pop("config")), recipes), **given}
    for name in given:
        if name not in names:
            import difflib

            near = difflib.get_close_matches(name, names, n=1)
            raise UserError(f"There is no option {name!r}{f'; did you mean {near[0]!r}?' if near else '.'}")
        for one in several(given[name]):
            if isinstance(one, str) and ("\0" in one or not one and name != "logger"):  # "" there is none at all
                raise UserError(f"{name} is {one!r}: give another, or leave it out.")
    return checked(kind, given)


def _configuration(config: str, recipes: Callable[[str], dict[str, Any]] | None) -> dict[str, Any]:
    from mixtransfer.commandline.recipes import find_recipe
    from mixtransfer.common.typed import read_yaml

    file = config if Path(config).is_file() else str(find_recipe(config))
    return recipes(file) if recipes and file.endswith(".py") else read_yaml(file)


def _callbacks(given: Any) -> "list[Callback]":
    """
    Raises:
        UserError: Something is no callback of Lightning.
    """
    from lightning.pytorch.callbacks import Callback, ProgressBar

    every = several_of(Callback, given, "callbacks takes callbacks of Lightning")
    if len([one for one in every if isinstance(one, ProgressBar)]) > 1:
        raise UserError("callbacks has several progress bars: give one.")
    return every


def several(given: Any) -> list[Any]:
    """What was given as none, one, or several, as a list."""
    return [] if given is None else list(given) if isinstance(given, list | tuple | set) else [given]


def several_of(kind: type, given: Any, takes: str) -> list[Any]:
    """``several``, all of one kind.

    Args:
        takes: What is taken, to begin a sentence with.

    Raises:
        UserError: One is of another kind.
    """
    every = several(given)
    for one in every:
        if not isinstance(one, kind):
            what = f"the class {one.__name__}: call it" if isinstance(one, type) else f"{one!r}"
            raise UserError(f"{takes}, not {what}.")
    return every


def _plain(value: Any) -> Any:
    """A value as YAML has it: of numpy's numbers Python's, of paths the text."""
    if isinstance(value, Path) or hasattr(value, "folder"):  # a run
        return path_of(value)
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def loggers_of(logger: Any) -> "tuple[str | None, list[Logger]]":
    """The names, and the objects, among what was given as loggers.

    Raises:
        UserError: Something is neither.
    """
    if logger is False:
        return "", []  # none, whatever a configuration says
    if logger is True:
        return ("tensorboard" if any(map(find_spec, TRACKERS["tensorboard"].packages)) else "csv"), []
    every = several(logger)
    names = [one for one in every if isinstance(one, str)]
    others = [one for one in every if not isinstance(one, str)]
    for one in others:
        if not hasattr(one, "log_metrics"):
            raise UserError(f"logger takes names and loggers of Lightning, not {one!r}.")
    return ",".join(names) or None, others
