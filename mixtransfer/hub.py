"""The Hugging Face hub, by its conventions: a run's folder as a repository that timm opens too."""

import tempfile
from os import PathLike
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader
from PIL import Image

from mixtransfer import __version__
from mixtransfer.api import path_of
from mixtransfer.classification.metrics import SCORE_NAMES
from mixtransfer.classification.timm_config import timm_config, write_timm_config
from mixtransfer.common.files import is_unused, write_atomic
from mixtransfer.common.machine import machine
from mixtransfer.data.names import data_name
from mixtransfer.data.split_file import Split
from mixtransfer.deploy.latency import measure
from mixtransfer.errors import UserError
from mixtransfer.prediction import load
from mixtransfer.runs.model_card import CLASSIFIERS, ModelCard
from mixtransfer.runs.run import NOT_RECORDED, Run

HUB = "hf-hub:"
# What of a run is published: what is needed to use it, to judge it, and to know what it was trained with.
PUBLISHED = (
    "model.safetensors",
    "known.safetensors",
    "model.json",
    "config.json",
    "config.yaml",
    "metrics.json",
    "README.md",
)
PLACES = ("data_root", "output", "resume", "dist_url")  # options that say where a training ran: they stay here
FILES = ("backbone", "weights", "augment", "teacher")  # options that may name a file: its own name is published


def fetched(source: str) -> Path:
    """The folder of a repository of the hub, downloaded or from the cache.

    Args:
        source: "hf-hub:USER/NAME", with "@REVISION" behind it if another one than main is wanted.

    Raises:
        UserError: It does not exist, cannot be reached, or holds no model of this package.
    """
    from huggingface_hub import snapshot_download

    name, _, revision = source.removeprefix(HUB).partition("@")
    try:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=list(PUBLISHED)))
    except Exception as error:  # of the network, the hub, or a name that is none
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{source} cannot be had from the hub ({type(error).__name__}: {reason}).") from error
    if not (folder / "model.json").is_file():
        raise UserError(f"{source} holds no model that mixtransfer has pushed: it has no model.json.")
    return folder


def push(
    run: "str | Path | Run",
    name: str,
    *,
    private: bool = False,
    license: str | None = None,
    data_license: str | None = None,
    intended_use: str | None = None,
    output: str | Path | None = None,
) -> str:
    """Publish a run's model on the Hugging Face hub with a model card, as `mixtransfer push` does.

    ``model.safetensors``, its descriptions and scores are published, no images and nothing pickled. The token is that
    of `hf auth login`, or of HF_TOKEN.

    Args:
        run: The run, or its folder.
        name: The repository, as "USER/NAME"; it is made if it does not exist.
        private: Whether only its owner can see a repository that is made.
        license: Of the model, such as "apache-2.0"; by default that of the weights that it started from.
        data_license: Of the images that it was trained on, in words.
        intended_use: What it is for, and what it is not, in words.
        output: Write the files to this folder instead, and publish nothing.

    Returns:
        The address of the repository, or the path of the folder.

    Raises:
        UserError: The name is none, an argument is of another kind, the run is not finished, the folder is in use or
            cannot be written, or the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    _check_name(name)
    if not isinstance(private, bool):
        raise UserError(f"private takes True or False, not {private!r}.")
    for option, value in {"license": license, "data_license": data_license, "intended_use": intended_use}.items():
        if not isinstance(value, str | None):
            raise UserError(f"{option} takes a text, not {value!r}.")
    if not isinstance(output, str | PathLike | None):
        raise UserError(f"output takes a folder to write to, not {output!r}.")
    run = finished(run)
    if output is not None:
        return _write_folder(run, name, Path(output), license, data_license, intended_use)
    api = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        write_repository(run, Path(folder), model_page(run, name, license, data_license, intended_use))
        try:
            api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=name, folder_path=folder, commit_message=f"{run.folder.name}, by mixtransfer {__version__}"
            )
        except Exception as error:  # of the network, the hub, or a name that is none
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{name} cannot be pushed to ({type(error).__name__}: {reason}).") from error
    return f"{api.endpoint}/{name}"


def _check_name(name: str) -> None:
    """Have what is no name of a repository, with its owner, be a ``UserError``."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        is_one = isinstance(name, str) and "/" in name
    except HFValidationError:
        is_one = False
    if not is_one:
        raise UserError(
            f"{name!r} is no name of a repository: give it as USER/NAME, of letters, digits, '-', '_' and '.'."
        )


def _write_folder(run: Run, name: str, folder: Path, *terms: str | None) -> str:
    try:
        if not is_unused(folder):
            raise UserError(f"{folder} exists and is not empty: choose another --output.")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UserError(f"The output folder {folder} cannot be written ({error}).") from error
    write_repository(run, folder, model_page(run, name, *terms))
    return str(folder)


def finished(run: "str | Path | Run") -> Run:
    """A run that has its scores.

    Raises:
        UserError: It has none, or is no run.
    """
    run = Run.open(path_of(run))
    if "test" not in run.read_metrics():
        if run.read_config().get("weights") == NOT_RECORDED:
            raise UserError(f"{run.folder} has no scores: write it by save_run with data=, which it is tested on.")
        raise UserError(f"{run.folder} is not finished: go on with it by --resume first.")
    return run


def write_repository(run: Run, folder: Path, page: str) -> None:
    """Write the files of ``PUBLISHED`` to an empty folder; the paths of this machine stay here."""
    config = published_config(run)
    write_atomic(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    for path in (run.weights, run.known, run.model, run.metrics):
        if path.exists():  # not every run has a measure of what is known
            write_atomic(folder / path.name, path.read_bytes())
    write_timm_config(run, folder)
    write_atomic(folder / "README.md", page)


def published_config(run: Run) -> dict[str, Any]:
    """The options that a run was trained with, without the paths of this machine, be it Windows or another."""
    return {name: _published(name, value) for name, value in run.read_config().items() if name not in PLACES}


def _published(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _published(str(key), one) for key, one in value.items()}
    if isinstance(value, list):
        return [_published(name, one) for one in value]
    if not isinstance(value, str) or name == "group_by":  # a pattern, of paths relative to the data
        return value
    if name == "data":
        return PureWindowsPath(data_name(value)).name
    return PureWindowsPath(value).name if name in FILES or _is_path(value) else value


def _is_path(value: str) -> bool:
    return (
        PurePosixPath(value).is_absolute()
        or PureWindowsPath(value).is_absolute()
        or value.startswith(("./", "../", "~", ".\\", "..\\"))
    )


def model_page(
    run: Run, name: str, license: str | None = None, data_license: str | None = None, intended_use: str | None = None
) -> str:
    """The model card of a run, in Markdown with the hub's metadata.

    Args:
        name: The repository.
        license, data_license, intended_use: See ``push``.
    """
    card, metrics, config = ModelCard.read(run.model), run.read_metrics(), published_config(run)
    classifier = card.task in CLASSIFIERS
    start = card.details.get("start", {})
    terms = license or start.get("license")
    metadata: dict[str, Any] = {
        "library_name": "timm" if timm_config(card) else "mixtransfer",
        "pipeline_tag": "image-classification" if classifier else "object-detection",
        "tags": ["mixtransfer", card.task, card.backbone],
        **({"license": terms} if terms else {}),
    }
    head = yaml.safe_dump(metadata, sort_keys=False)
    environment = Environment(loader=PackageLoader("mixtransfer", "."), trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("hub.md.jinja").render(
        head=head,
        name=name,
        card=card,
        classifier=classifier,
        multilabel=card.task == "multilabel",
        data=config.get("data"),
        config=config,
        start=start,
        scores=_scores(metrics["test"], classifier),
        tested=_tested(run),
        latency=_latency(run),
        terms=terms,
        data_license=data_license,
        intended_use=intended_use,
        timm=timm_config(card) is not None,
        version=__version__,
    )


def _scores(test: dict[str, Any], classifier: bool) -> list[tuple[str, str]]:
    """Names and values, with 95 % intervals where there are any."""
    if classifier:
        shown = []
        for name, score in test.items():
            between = "" if score["low"] is None else f" ({100 * score['low']:.1f} to {100 * score['high']:.1f})"
            shown.append((SCORE_NAMES.get(name, name), f"{100 * score['value']:.2f}{between}"))
        return shown
    return [(name, f"{value:.1f}") for name, value in test.items() if isinstance(value, int | float)]


def _tested(run: Run) -> int | None:
    """The number of test images, where the run keeps its split."""
    return list(Split.read(run.split).parts).count("test") if run.split.exists() else None


def _latency(run: Run) -> str:
    """A sentence on how long one image takes, measured here."""
    model, image = load(run, "cpu"), Image.new("RGB", (640, 480), "grey")
    median = 1000 * measure({0: lambda: model.predict(image)}, 10)[0].median
    where = machine()
    return (
        f"One image of 640 × 480 pixels takes {median:.0f} ms in PyTorch, from pixels to the answer, on the CPU of the "
        f"machine that published this ({where['processor']}, {where['cores']} cores)."
    )
