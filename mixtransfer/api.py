"""What the commands do, as functions: ``mixtransfer.train``, ``compare``, ``export`` and, in ``detect``, ``train``."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from mixtransfer.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    from mixtransfer.comparison.compare import Comparison
    from mixtransfer.deploy.export import Written
    from mixtransfer.run import Run

Options = TypeVar("Options", bound="DataclassInstance")


def train(
    data: str | Path | None = None,
    *,
    callbacks: "Sequence[Callback]" = (),
    logger: "str | Logger | Sequence[str | Logger] | None" = None,
    augment: Any = None,
    **options: Any,
) -> "Run":
    """Fine-tune a backbone on labelled images, as `mixtransfer classify train` does.

    Sentences on how it goes are logged by the logger "mixtransfer" of ``logging``. The state of all random generators
    is afterwards what it was.

    Args:
        data: A folder, a CSV manifest, or a name; leave it out to go on with ``resume=RUN``.
        callbacks: For Lightning's Trainer, beside our own.
        logger: Names as of ``--logger``, or loggers of Lightning.
        augment: A policy, a file, or a transform; see ``mixtransfer.data.augment.as_augment``.
        options: The further options of the command by name, such as ``backbone="mixnet_s", epochs=5``; see
            ``mixtransfer.classification.options.TrainOptions``.

    Returns:
        The finished run (in all of several processes but the first there is none: None).

    Raises:
        UserError: An option or the data cannot be used.
        Interrupted: Ctrl-C; what is needed to resume has been written.
    """
    from mixtransfer.classification.options import TrainOptions
    from mixtransfer.classification.train import train as train_run

    if options.get("preview"):
        raise UserError("preview is for the command: mixtransfer classify train DATA --preview.")
    named, loggers = _loggers(logger)
    policy = {"augment": str(augment)} if isinstance(augment, str | Path) else {}
    settled = options_of(TrainOptions, {"data": data, "logger": named, **policy, **options})
    with undisturbed():
        return cast(
            "Run", train_run(settled, callbacks=callbacks, loggers=loggers, augment=None if policy else augment)
        )


def compare(data: "str | Path | Run | Sequence[str | Path | Run]", **options: Any) -> "Comparison":
    """Compare backbones on data, or runs that exist already, as `mixtransfer compare` does.

    Trainings and measurements of memory have processes of their own, which import the script that is run: call it
    below ``if __name__ == "__main__":``.

    Args:
        data: A data set to train every backbone on, or two or more runs.
        options: The options of the command by name; ``backbones`` may be a list. See
            ``mixtransfer.comparison.options.CompareOptions``.

    Raises:
        UserError: An option, the data or a run cannot be used.
    """
    from mixtransfer.comparison.compare import run_comparison
    from mixtransfer.comparison.options import CompareOptions

    several: list[Any] = list(data) if isinstance(data, list | tuple) else [data]
    if not isinstance(names := options.get("backbones", ""), str):
        options["backbones"] = ",".join(names)
    settled = options_of(CompareOptions, {"data": [path_of(one) for one in several], **options})
    with undisturbed():
        return run_comparison(settled)


def export(run: "str | Path | Run", format: str = "onnx", **options: Any) -> "Written":
    """Write a run's model for other programs, as `mixtransfer export` does.

    Args:
        run: The run, or its folder.
        format: "onnx", "openvino", "torch" or "executorch".
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
        UserError: It is a network.
    """
    if hasattr(run, "state_dict"):
        raise UserError(
            f"A run or its folder is needed, not a {type(run).__name__}: write one by "
            "mixtransfer.save_run(module, folder)."
        )
    return str(getattr(run, "folder", run))


def options_of(kind: type[Options], values: dict[str, Any]) -> Options:
    """Options from keywords, checked as the command line checks them; what is None is left at its default.

    Raises:
        UserError: A name is unknown, or a value of the wrong kind.
    """
    from mixtransfer.arguments import checked

    names = [field.name for field in fields(kind)]
    given = {name: _plain(value) for name, value in values.items()}
    for name in given:
        if name not in names:
            import difflib

            near = difflib.get_close_matches(name, names, n=1)
            raise UserError(f"There is no option {name!r}{f'; did you mean {near[0]!r}?' if near else '.'}")
    return checked(kind, {name: value for name, value in given.items() if value is not None})


def _plain(value: Any) -> Any:
    """A value as YAML has it: of numpy's numbers Python's, of paths the text."""
    if isinstance(value, Path) or hasattr(value, "folder"):  # a run
        return path_of(value)
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def _loggers(logger: Any) -> "tuple[str | None, list[Logger]]":
    """The names, and the objects, among what was given as loggers.

    Raises:
        UserError: Something is neither.
    """
    if logger is None or logger is False:
        return None, []
    every = list(logger) if isinstance(logger, list | tuple) else [logger]
    names = [one for one in every if isinstance(one, str)]
    others = [one for one in every if not isinstance(one, str)]
    for one in others:
        if not hasattr(one, "log_metrics"):
            raise UserError(f"logger takes names and loggers of Lightning, not {one!r}.")
    return ",".join(names) or None, others


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leave random generators, and the seeds that Lightning keeps in the environment, as they were."""
    from lightning.pytorch.utilities.seed import isolate_rng

    kept = {name: os.environ.get(name) for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")}
    with isolate_rng():
        try:
            yield
        finally:
            for name, value in kept.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
