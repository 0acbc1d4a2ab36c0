"""From a Trainer of one's own to a Run, which every other part of the library takes."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch

from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.backbones.registry import BackboneSpec
from mixtransfer.classification.answers import write_answers
from mixtransfer.classification.datamodule import EvaluationData, ImageDataModule
from mixtransfer.classification.metrics import score
from mixtransfer.classification.model import model_bytes
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.timm_config import write_timm_config
from mixtransfer.classification.trainer import make_trainer, predict_examples
from mixtransfer.data.named import NAMED_DATASETS
from mixtransfer.data.names import settled
from mixtransfer.errors import UserError
from mixtransfer.files import write_atomic
from mixtransfer.model_card import ModelCard
from mixtransfer.run import Run


def save_run(
    module: ImageClassifier,
    folder: str | Path,
    data: ImageDataModule | None = None,
    classes: Sequence[str] | None = None,
) -> Run:
    """Write a classifier that was trained under any Trainer as a Run, for ``load``, ``export``, ``push``, ``compare``.

    With its data the Run keeps which image is in which part, and the test images are answered for ``metrics.json``:
    ``push`` and ``compare`` want scores. What the module was trained with beside its recipe is not known.

    Args:
        module: Its network is one of ``create_backbone``, or of timm.
        folder: A new or empty one.
        data: What it was trained on.
        classes: Class names in the order of the outputs; by default those of the data, or of the data module that it
            was trained with.

    Raises:
        UserError: The module is no ``ImageClassifier``, its network or its classes are not known, or the folder is in
            use.
    """
    if not isinstance(module, ImageClassifier):
        raise UserError(f"save_run takes an ImageClassifier, not a {type(module).__name__}.")
    names = _class_names(module, data, classes)
    spec = _spec_of(module)
    options = TrainOptions(backbone=spec.name, image_size=module.preprocessing.size)
    for name in module.recipe.__dataclass_fields__:
        setattr(options, name, getattr(module.recipe, name))
    if data:
        found = data.dataset.found
        options.data = settled(str(found.source if found else data.dataset.name), NAMED_DATASETS)
        options.batch_size = data.batch_size
    run = Run.create(Path(folder), options)
    ModelCard.of("classification", spec, names, module.preprocessing.to_dict()).write(run.model)
    model = deepcopy(module.model).float()
    write_atomic(run.weights, model_bytes(model))
    write_timm_config(run)
    if data:
        if data.dataset.division:
            data.dataset.split().write(run.split)
        network = ImageClassifier(model, module.preprocessing)
        loaders = EvaluationData(module.preprocessing, data.batch_size, data.workers)
        examples = data.dataset.test
        tested = predict_examples(make_trainer(options, enable_checkpointing=False), network, loaders, examples)
        write_answers(run.test_predictions, tested, examples, names)
        run.write_metrics(test={name: estimate.to_dict() for name, estimate in score(tested).items()})
    return run


def _class_names(module: ImageClassifier, data: ImageDataModule | None, given: Sequence[str] | None) -> list[str]:
    names = list(given or (data.classes if data else None) or module.classes or ())
    if not names:
        raise UserError("The names of the classes are not known: give save_run classes=, or data= that it trained on.")
    if data and names != data.classes:
        raise UserError("The classes are not those of the data, in its order: leave classes= out.")
    if len(names) != module.num_classes or len(set(names)) != len(names):
        raise UserError(
            f"The network has {module.num_classes} classes: give it as many names, each once, not {len(names)}."
        )
    return names


def _spec_of(module: ImageClassifier) -> BackboneSpec:
    """What ``create_backbone`` builds the same network from.

    Raises:
        UserError: It builds none that takes the weights.
    """
    model = module.model
    spec = getattr(model, "spec", None)
    if not isinstance(spec, BackboneSpec):
        name = (getattr(model, "pretrained_cfg", None) or {}).get("architecture")
        if not name:
            raise UserError(
                f"The network, a {type(model).__name__}, is not one that can be built again by its name: take one of "
                "mixtransfer.create_backbone or timm."
            )
        spec = backbone_spec(name)
    with torch.device("meta"):
        like = create_backbone(spec, "none", module.num_classes, image_size=module.preprocessing.size).state_dict()
    own = model.state_dict()
    if like.keys() != own.keys() or any(own[name].shape != value.shape for name, value in like.items()):
        raise UserError(f"The network is not {spec.name} as create_backbone builds it: its layers have been changed.")
    return spec
