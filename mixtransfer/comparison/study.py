"""A study: the same training for every backbone and seed, each a Run of its own, of which none is done twice."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mixtransfer.backbones import backbone_spec
from mixtransfer.backbones.capability import check_classifier, native_size
from mixtransfer.common.messages import tell
from mixtransfer.common.ranges import AT_LEAST_1, check_ranges
from mixtransfer.common.typed import checked, read_yaml
from mixtransfer.comparison.budget import passes_within
from mixtransfer.comparison.options import CompareOptions
from mixtransfer.comparison.rates import sweep_epochs
from mixtransfer.comparison.workers import Job, Say, Workers
from mixtransfer.data.names import data_name
from mixtransfer.data.splits import Fold
from mixtransfer.errors import UserError
from mixtransfer.runs.run import join_folder
from mixtransfer.runs.run_data import training_images

# What may differ when a study goes on: more backbones and seeds, and how to run and show it.
FREE = (
    "backbones", "seeds", "baseline", "margin", "jobs", "output", "data_root", "workers", "limit", "rounds", "paper",
    "json",
)  # fmt: skip
POLL = 5  # seconds between looks at what other machines do


def run_study(options: CompareOptions, say: Say = tell) -> tuple[Path, list[Job]]:
    """Train all that is not trained yet.

    Several processes and machines can work on a study in the same folder: each training is claimed by a lock that
    ends with its process. A training that fails leaves its reason, and the rest goes on.

    Returns:
        The study's folder, and its trainings.

    Raises:
        UserError: An option cannot be used, or the folder holds another study.
    """
    _check(options)
    names = list(dict.fromkeys(name.strip() for name in options.backbones.split(",") if name.strip()))
    for name in names:
        backbone_spec(name)
    if options.baseline and options.baseline not in names:
        raise UserError(f"--baseline {options.baseline} is not among the backbones: {', '.join(names)}.")
    training = training_options(options)
    if options.tune_lr and training.lr is not None:
        raise UserError(f"--tune-lr chooses the learning rate, and --lr {training.lr} gives it: leave one of them out.")
    _check_training(training, names, options)
    folder = _open(options, training)
    folds = [Fold(k, options.folds) for k in range(1, options.folds + 1)] if options.folds else [None]
    jobs = [
        Job.of(folder, name, seed, fold)
        for seed in range(options.seeds)  # a seed of all before the next, so that an early end can be compared
        for fold in folds
        for name in names
    ]
    done = [job for job in jobs if job.finished]
    say(f"{folder}: {len(jobs)} trainings" + (f", {len(done)} of them finished already." if done else "."))
    trainings = _trainings(training, names, options, folder, say)

    def options_of(job: Job):
        split = {"fold": str(job.fold), "split_seed": training.split_seed + job.seed} if job.fold else {}
        return replace(trainings[job.backbone], seed=job.seed, **split)

    Workers(options.task, jobs, options_of, options.tune_lr, options.jobs, options.json, POLL, say).run()
    return folder, jobs


def training_options(options: CompareOptions):
    """The options of the training that all backbones share: defaults, then the recipe, then what `compare` was given.

    Raises:
        UserError: The recipe cannot be read or has an unknown key, or an option is not one of this task.
    """
    if options.task == "classify":
        from mixtransfer.classification.options import TrainOptions
    else:
        from mixtransfer.detection.options import TrainOptions  # type: ignore[assignment]
    if options.recipe and not Path(options.recipe).is_file():
        raise UserError(f"--recipe {options.recipe} is not a file.")
    values = {}
    if options.recipe and options.recipe.endswith(".py"):
        from mixtransfer.detection.recipes import read_recipe

        values = read_recipe(options.recipe)
    elif options.recipe:
        values = read_yaml(options.recipe)
    training = checked(TrainOptions, values)
    if getattr(training, "unlabelled", None) and options.budget_minutes:
        raise UserError("--budget-minutes counts labelled images alone: take unlabelled out of the recipe.")
    shared = ("data_root", "weights", "epochs", "iterations", "batch_size", "image_size", "lr", "workers")
    given = {name: value for name in shared if (value := getattr(options, name)) is not None}
    if options.data:
        given["data"] = options.data[0]
    known = {field.name for field in fields(TrainOptions)}
    if unknown := sorted(given.keys() - known):
        raise UserError(f"--{unknown[0]} is no option of --task {options.task}.")
    training = replace(training, **given)
    if training.data is None:
        raise UserError("Say what to compare: mixtransfer compare DATA (a folder, a file or a name), or RUN RUN ….")
    return training


def _check_training(training, names: Sequence[str], options: CompareOptions) -> None:
    """Have options and data that cannot be used be an error now, not one of each training.

    Named datasets are downloaded here.
    """
    if options.task == "detect":
        from mixtransfer.data.detection.load import list_boxes
        from mixtransfer.detection import defaults

        defaults.check(training)
        list_boxes(training.data, Path(training.data_root), layout=training.layout)
    else:
        from mixtransfer.classification import defaults as of_classification

        of_classification.check(training)
        for name in names:
            check_classifier(backbone_spec(name), training.image_size)
        if training.fold:
            raise UserError("The recipe tests on one fold: leave its fold out, and give --folds.")
        dataset = training_images(_in_first_fold(training, options), check=False)
        if options.folds and dataset.is_multilabel:
            raise UserError(f"--folds is for one class an image, and those of {dataset.name} may have several labels.")


def _in_first_fold(training, options: CompareOptions):
    return replace(training, fold=str(Fold(1, options.folds))) if options.folds else training


def _trainings(training, names: Sequence[str], options: CompareOptions, folder: Path, say: Say) -> dict[str, Any]:
    """The options of each backbone's trainings: its name, its native size, and the passes that fit the budget."""
    trainings = {}
    for name in names:
        size = {"image_size": native_size(backbone_spec(name))} if training.image_size is None else {}
        # Lightning would start further processes by the command, which is not a training's but this one.
        alone = {"devices": 1, "num_nodes": 1} if options.task == "classify" else {}
        trainings[name] = replace(training, backbone=name, **size, **alone)
    if not options.budget_minutes:
        return trainings

    def shared(passes: int) -> float:
        return sweep_epochs(passes) / (1 if options.folds else options.seeds) if options.tune_lr else 0.0

    split = {name: _in_first_fold(one, options) for name, one in trainings.items()}
    passes = passes_within(options.budget_minutes, options.task, split, folder, options.jobs, shared)
    unit = "iterations" if options.task == "detect" else "epochs"
    say(f"Within {options.budget_minutes:g} minutes: " + ", ".join(f"{n} {passes[n]} {unit}" for n in names) + ".")
    return {name: replace(one, **{unit: passes[name]}) for name, one in trainings.items()}


def _check(options: CompareOptions) -> None:
    check_ranges(options, seeds=AT_LEAST_1, jobs=AT_LEAST_1, epochs=AT_LEAST_1, folds=(2, 1000))
    if options.budget_minutes is not None and not options.budget_minutes > 0:
        raise UserError(f"--budget-minutes is {options.budget_minutes}; it must be more than 0.")
    if options.budget_minutes and (options.epochs or options.iterations):
        raise UserError("--budget-minutes says how long to train: leave --epochs and --iterations out.")
    for name in ("folds", "tune_lr"):
        if getattr(options, name) and options.task == "detect":
            raise UserError(f"--{name.replace('_', '-')} is for classifiers: leave it out with --task detect.")
    if len(options.data) > 1:
        raise UserError(f"{options.data[1]} is one too many: give one dataset, or runs only.")


def _open(options: CompareOptions, training) -> Path:
    """The study's folder, new or of the same study."""
    folder = Path(options.output or Path("runs") / f"compare-{data_name(training.data)}")
    join_folder(folder, options, FREE, "seeds", "a study")
    for part in ("runs", "logs"):
        (folder / part).mkdir(exist_ok=True)
    return folder
