"""The Run folder: what training writes and every later command takes."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import yaml

from mixtransfer.backbones.registry import backbone_spec
from mixtransfer.common.files import is_unused, make_new, remove_unfinished, write_atomic
from mixtransfer.common.plain_yaml import load_plain_yaml
from mixtransfer.common.typed import checked
from mixtransfer.data.names import data_name, same_data
from mixtransfer.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class TrainOptions(Protocol):
    """What the options of every training have."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    data: str | None
    backbone: str
    weights: str
    output: str | None
    resume: str | None


Options = TypeVar("Options", bound=TrainOptions)
NOT_RECORDED = "not recorded"  # what a training under another's Trainer began with, and by which views


@dataclass(frozen=True)
class Run:
    """One training's folder.

    It holds ``config.yaml`` (the resolved configuration), ``split.csv`` (which image is in which part; see
    ``mixtransfer.runs.run_data``), ``model.safetensors`` and ``model.json`` (all that is needed to use the model), of a
    classifier ``known.safetensors`` (what tells images of its classes from others) and, with images without labels,
    ``pseudo_labels.csv`` (what they were taken for), ``last.ckpt`` (to resume),
    ``metrics.csv`` (a row an epoch), ``metrics.json``, ``report.html`` and ``figures/``, and what was answered to the
    test images: ``test_predictions.csv`` of a classifier, ``test_detections.json`` of a detector.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """Every option as it was resolved."""
        return self.folder / "config.yaml"

    @property
    def split(self) -> Path:
        return self.folder / "split.csv"

    @property
    def weights(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def model(self) -> Path:
        return self.folder / "model.json"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def start(self) -> Path:
        """Weights before fine-tuning, until the run is finished."""
        return self.folder / "start.safetensors"

    @property
    def tuned(self) -> Path:
        """Fine-tuned weights from the end of the last epoch until the run is finished."""
        return self.folder / "tuned.safetensors"

    @property
    def augment(self) -> Path:
        """The augmentation of one's own that it was trained with, as albumentations writes it."""
        return self.folder / "augment.yaml"

    @property
    def known(self) -> Path:
        return self.folder / "known.safetensors"

    @property
    def pseudo_labels(self) -> Path:
        return self.folder / "pseudo_labels.csv"

    @property
    def evidence(self) -> Path:
        """What was said of images that were not trained on, until the run is finished."""
        return self.folder / "evidence.npz"

    @property
    def metrics(self) -> Path:
        """The scores, see ``read_metrics``."""
        return self.folder / "metrics.json"

    @property
    def test_predictions(self) -> Path:
        return self.folder / "test_predictions.csv"

    @property
    def test_detections(self) -> Path:
        return self.folder / "test_detections.json"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @classmethod
    def create(cls, output: Path, options: "DataclassInstance") -> "Run":
        """Start a run in a new or empty folder and write its configuration.

        Raises:
            UserError: The folder holds something already, or cannot be written.
        """
        if not is_unused(output):
            holds = "holds another run" if (output / "config.yaml").exists() else "exists and is not empty"
            raise UserError(f"{output} {holds}: choose another --output, or go on with it by --resume {output}.")
        run = cls(output)
        try:
            output.mkdir(parents=True, exist_ok=True)
            remove_unfinished(output)
            run.write_config(options)
        except OSError as error:
            raise UserError(f"The output folder {output} cannot be written ({error.strerror}).") from error
        return run

    @classmethod
    def open(cls, folder: Path | str) -> "Run":
        """An existing run.

        Raises:
            UserError: The folder does not hold one.
        """
        run = cls(Path(folder))
        if not cls.is_run(folder):
            raise UserError(f"{folder} is not a run: it has no config.yaml.")
        return run

    @staticmethod
    def is_run(folder: Path | str) -> bool:
        """Whether a folder holds a run, finished or not."""
        return (Path(folder) / "config.yaml").is_file()

    def write_config(self, options: "DataclassInstance") -> None:
        """Write the fields of an option class to ``config.yaml``."""
        write_atomic(self.config, yaml.safe_dump(asdict(options), sort_keys=False, allow_unicode=True))

    def read_config(self) -> dict:
        """The options that it was trained with, by name. A UserError if ``config.yaml`` is missing or damaged."""
        try:
            values = load_plain_yaml(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.config} cannot be read ({error}).") from error
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise UserError(f"{self.config} does not hold a configuration.")
        return values

    def options(self, kind: type[Options]) -> Options:
        """The options that it was trained with.

        Raises:
            UserError: ``config.yaml`` is damaged, or has a key or value that this version's options do not.
        """
        if unknown := sorted(self.read_config().keys() - {field.name for field in fields(kind)}):
            raise UserError(f"{self.config} has the key {unknown[0]!r}, which this version does not know.")
        try:
            return checked(kind, self.read_config())
        except UserError as error:
            raise UserError(f"{self.config} cannot be used: {error}") from error

    def load_weights(self, model) -> None:
        """Load ``model.safetensors`` into a network that is like the one it was written from.

        Raises:
            UserError: It is missing, damaged, or of another network.
        """
        import safetensors.torch
        from safetensors import SafetensorError

        try:
            model.load_state_dict(safetensors.torch.load_file(self.weights))
        except FileNotFoundError:
            raise UserError(f"{self.folder} holds no trained model yet: {self.weights.name} is missing.") from None
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UserError(f"{self.weights} is damaged or belongs to another model.") from error

    def write_metrics(self, **parts: dict) -> None:
        """Add or replace parts ("validation", "test", …) of ``metrics.json``."""
        write_atomic(self.metrics, json.dumps({**self.read_metrics(), **parts}, indent=2) + "\n")

    def read_metrics(self) -> dict:
        """Scores of the parts "validation" and "test", none before they are known. Raises a UserError if damaged."""
        try:
            metrics = json.loads(self.metrics.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError):
            metrics = None
        if not isinstance(metrics, dict):
            raise UserError(f"{self.metrics} is damaged.")
        return metrics

    @property
    def history(self) -> Path:
        """A row for each evaluation of the training."""
        return self.folder / "metrics.csv"

    def read_history(self) -> list[dict[str, float | None]]:
        """The rows of ``metrics.csv``, each with all columns; None where a cell is empty.

        Raises:
            UserError: It is missing or damaged.
        """
        try:
            with self.history.open(encoding="utf-8", newline="") as file:
                names, *lines = csv.reader(file, strict=True)
            return [
                {name: float(cell) if cell else None for name, cell in zip(names, line, strict=True)} for line in lines
            ]
        except (OSError, ValueError, csv.Error) as error:
            raise UserError(f"{self.history} is missing or damaged ({type(error).__name__}).") from error


def new_folder(options: TrainOptions) -> Path:
    """The output folder that training options ask for, or one by the first free name under runs/, which is made."""
    if options.output:
        return Path(options.output)
    name = f"{data_name(str(options.data))}-{backbone_spec(options.backbone).name}"
    candidates = (Path("runs") / (name if i == 1 else f"{name}-{i}") for i in range(1, 10_000))
    return next(path for path in candidates if make_new(path))


def join_folder(folder: Path, options: "DataclassInstance", free: Sequence[str], mark: str, what: str) -> None:
    """Make the folder of long work that goes on by the same command, or see that it holds the same work.

    Args:
        options: A dataclass, which ``config.yaml`` records.
        free: Names of the options that may differ when the work goes on.
        mark: An option that no other kind of folder records.
        what: The kind of work, with its article.

    Raises:
        UserError: It holds something else, or cannot be written.
    """
    run = Run(folder)
    try:
        if run.config.is_file():
            recorded = run.read_config()
            if mark not in recorded:
                raise UserError(f"{folder} holds something else, not {what}: choose another --output.")
            for key, value in asdict(options).items():
                if key not in free and recorded.get(key, value) != value:
                    option = f"--{key.replace('_', '-')}" if key != "data" else "data"
                    raise UserError(
                        f"{folder} holds {what} whose {option} is {recorded[key]}, not {value}: "
                        "choose another --output, or the same options to go on."
                    )
        elif not is_unused(folder):
            raise UserError(f"{folder} exists and is not empty: choose another --output.")
        folder.mkdir(parents=True, exist_ok=True)
        run.write_config(options)
    except OSError as error:
        raise UserError(f"The output folder {folder} cannot be written ({error.strerror}).") from error


def reopen(options: Options, machine_options: Sequence[str]) -> tuple[Run, Options]:
    """The run that ``options.resume`` names, and its own options.

    Args:
        options: As given on the command line.
        machine_options: Those that hold as given now, because the machine may be another one.

    Raises:
        UserError: It is no run, of another version or data, or one that ``save_run`` wrote.
    """
    run = Run.open(str(options.resume))
    recorded = run.options(type(options))
    if recorded.weights == NOT_RECORDED:
        raise UserError(f"{run.folder} was not trained by the command, so there is nothing to go on with.")
    if options.data is not None and not same_data(options.data, str(recorded.data)):
        raise UserError(f"{run.folder} was trained on {recorded.data}, not on {options.data}: leave DATA out.")
    default = type(options)()
    for name, value in asdict(options).items():
        known = name in ("data", "resume", "preview", *machine_options)
        if not known and value not in (getattr(default, name), getattr(recorded, name)):
            raise UserError(
                f"{run.folder} goes on with its own --{name.replace('_', '-')} {getattr(recorded, name)}, not {value}: "
                "leave it out, or train anew."
            )
    given = {name: getattr(options, name) for name in machine_options}
    return run, replace(recorded, **{k: v for k, v in given.items() if v != getattr(default, k)})
