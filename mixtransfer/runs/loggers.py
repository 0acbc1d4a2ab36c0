"""Experiment trackers, by Lightning's own loggers: what `--logger` names."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixtransfer.common.messages import tell
from mixtransfer.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


@dataclass(frozen=True)
class Tracker:
    """A kind of logger.

    Attributes:
        packages: Of which one is needed, or none.
        open: Makes one for a run's folder.
        close: Ends what it has begun, where the next training of the same process would be taken for the same.
    """

    packages: tuple[str, ...]
    open: Callable[[Path], "Logger"]
    close: Callable[[Any], object] | None = None


def _csv(folder: Path) -> "Logger":
    from lightning.pytorch.loggers import CSVLogger

    return CSVLogger(folder, name="csv")


def _tensorboard(folder: Path) -> "Logger":
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name=None, version="tensorboard")


def _wandb(folder: Path) -> "Logger":
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(name=folder.name, save_dir=folder, project="mixtransfer")


def _mlflow(folder: Path) -> "Logger":
    import mlflow
    from lightning.pytorch.loggers import MLFlowLogger

    # Lightning's own default is a folder, which newer releases of MLflow refuse.
    return MLFlowLogger("mixtransfer", run_name=folder.name, tracking_uri=mlflow.get_tracking_uri())


def _comet(folder: Path) -> "Logger":
    from lightning.pytorch.loggers import CometLogger

    return CometLogger(project="mixtransfer", name=folder.name)


TRACKERS = {
    "tensorboard": Tracker(("tensorboard", "tensorboardX"), _tensorboard),
    "csv": Tracker((), _csv),
    "wandb": Tracker(("wandb",), _wandb, lambda logger: logger.experiment.finish()),
    "mlflow": Tracker(("mlflow",), _mlflow),
    "comet": Tracker(("comet_ml",), _comet, lambda logger: logger.experiment.end()),
}


def logger_names(names: str | None) -> list[str]:
    """The names in ``--logger``, with commas between.

    Raises:
        UserError: One is unknown, given twice, or its package is not installed.
    """
    found = [name.strip() for name in names.split(",")] if names else []
    for name in found:
        if name not in TRACKERS:
            raise UserError(f"--logger {name!r} is not one of {', '.join(TRACKERS)}.")
        if found.count(name) > 1:
            raise UserError(f"--logger names {name} twice.")
        packages = TRACKERS[name].packages
        if packages and not any(find_spec(package) for package in packages):
            raise UserError(f"--logger {name} needs a package that is not installed: pip install {packages[0]}")
    return found


def open_loggers(names: str | None, folder: Path, until: ExitStack) -> "list[Logger]":
    """The loggers that ``--logger`` names, for a run's folder, open until ``until`` ends.

    Raises:
        UserError: See ``logger_names``, or a service cannot be reached.
    """
    opened = []
    for name in logger_names(names):
        tracker = TRACKERS[name]
        try:
            logger = tracker.open(folder)
            _ = logger.experiment  # type: ignore[attr-defined]  # where a service is asked for the first time
        except Exception as error:  # whatever a service's client raises
            first = str(error).strip().split("\n")[0]
            raise UserError(f"--logger {name} cannot be used ({type(error).__name__}: {first}).") from error
        if tracker.close:
            until.callback(tracker.close, logger)
        opened.append(logger)
    return opened


def log_results(loggers: "Sequence[Logger]", scores: Mapping[str, float], figures: Path, step: int) -> None:
    """Log what came of a training: its scores on the test part, and the figures of its report.

    Args:
        scores: By name, such as "top1".
        figures: The folder of the figures, as PNG.
        step: Of the last step of the training.
    """
    files = sorted(figures.glob("*.png"))
    for logger in loggers:
        try:
            logger.log_metrics({f"test_{name}": value for name, value in scores.items()}, step)
            _log_figures(logger, files, step)
            logger.finalize("success")
        except Exception as error:  # of a service that is away by now: the run itself is whole
            first = str(error).strip().split("\n")[0]
            tell(f"Warning: {type(logger).__name__} did not take the results ({type(error).__name__}: {first}).")


def _log_figures(logger: Any, files: Sequence[Path], step: int) -> None:
    """Images are no part of Lightning's interface, so each kind has its own call; a CSV file takes none."""
    kind = type(logger).__name__
    for file in files:
        if kind == "TensorBoardLogger":
            import numpy as np
            from PIL import Image

            logger.experiment.add_image(file.stem, np.asarray(Image.open(file).convert("RGB")), step, dataformats="HWC")
        elif kind == "WandbLogger":
            logger.log_image(file.stem, [str(file)], step)
        elif kind == "MLFlowLogger":
            logger.experiment.log_artifact(logger.run_id, str(file), "figures")
        elif kind == "CometLogger":
            logger.experiment.log_image(str(file), name=file.stem, step=step)
