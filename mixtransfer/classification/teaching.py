"""Opening the teacher of a training: a run, or a network whose head is fitted first."""

from pathlib import Path

from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.backbones.answer import takes_linear_head
from mixtransfer.backbones.weights import describe_start, tell_license
from mixtransfer.classification.datamodule import ImageDataModule, batch_of
from mixtransfer.classification.defaults import Say
from mixtransfer.classification.folds import mirrors, set_head
from mixtransfer.classification.kinds import in_words
from mixtransfer.classification.model import open_classifier
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.recipe import Recipe
from mixtransfer.classification.selection import HEAD
from mixtransfer.classification.teacher import Teacher
from mixtransfer.classification.trainer import processes
from mixtransfer.common.device import best_device
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.deploy.exported import is_exported
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run
from mixtransfer.runs.run_data import tell_seen_parts


def open_teacher(options: TrainOptions, dataset: ImageDataset, say: Say) -> Teacher | None:
    """The teacher that the options name, for the classes of a dataset.

    Raises:
        UserError: It is neither a run of a classifier nor a backbone, or its classes are others.
    """
    source = options.teacher
    if source is None:
        return None
    if Run.is_run(source):
        return _of_run(source, dataset, say)
    if is_exported(source):
        raise UserError(f"--teacher {source} is an exported file: give the run that it was made of.")
    try:
        spec = backbone_spec(source)
    except UserError as error:
        raise UserError(f"--teacher {source} is neither a run nor a backbone. {error}") from error
    if processes(options) > 1:
        raise UserError(
            f"--teacher {source} would be fitted by each process: train it by `classify train`, and give the run."
        )
    tell_license(describe_start(spec, "imagenet"), say)
    model = create_backbone(spec, num_classes=len(dataset.classes))
    module = ImageClassifier(model, recipe=Recipe(loss="bce") if dataset.is_multilabel else None)
    if not takes_linear_head(model, module.preprocessing.size):
        raise UserError(
            f"The head of {source} is not one linear layer, which could be fitted: train it by `classify train`, and "
            "give the run as --teacher."
        )
    data = ImageDataModule(
        dataset, module.preprocessing, batch_size=batch_of(options), workers=options.workers, seed=options.seed
    )
    head = set_head(module, data, best_device(), mirrors(options))
    say(f"The teacher {source}, its head fitted, has {in_words(head.evidence.predictions[HEAD])} out of fold.")
    return Teacher(module.model, module.preprocessing)


def _of_run(source: str, dataset: ImageDataset, say: Say) -> Teacher:
    trained = open_classifier(source)
    if trained.multilabel != dataset.is_multilabel:
        several, one = ("the data", "the teacher") if dataset.is_multilabel else ("the teacher", "the data")
        raise UserError(f"--teacher {source} is for other labels: {several} may have several an image, {one} has one.")
    if others := sorted(set(dataset.classes) ^ set(trained.classes)):
        whose = dataset.name if others[0] in dataset.classes else "the teacher"
        raise UserError(f"--teacher {source} has other classes than the data: {others[0]!r} is of {whose} alone.")
    tell_seen_parts(Run(Path(source)), dataset, "The teacher", "judge what to keep", say)
    order = [trained.classes.index(name) for name in dataset.classes]
    return Teacher(trained.model, trained.preprocessing, None if trained.classes == dataset.classes else order)
