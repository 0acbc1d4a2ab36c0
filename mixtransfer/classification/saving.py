"""From a Trainer of one's own to a Run, which every other part of the library takes."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import nn

from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.backbones.registry import BackboneSpec
from mixtransfer.classification import given
from mixtransfer.classification.answers import write_answers
from mixtransfer.classification.datamodule import EvaluationData, ImageDataModule
from mixtransfer.classification.kinds import AnyPredictions, predictions_from_logits, score
from mixtransfer.classification.known import KnownScore
from mixtransfer.classification.known_fit import learn_known
from mixtransfer.classification.label_calibration import choose_thresholds
from mixtransfer.classification.model import model_bytes
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.multilabel import MultilabelPredictions
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.timm_config import write_timm_config
from mixtransfer.common.device import best_device
from mixtransfer.common.files import claimed, is_unused, write_atomic
from mixtransfer.common.host import undisturbed
from mixtransfer.common.messages import tell
from mixtransfer.data.dataset import Examples
from mixtransfer.data.named import NAMED_DATASETS
from mixtransfer.data.names import settled
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import NOT_RECORDED, Run

NO_NUMBERS = "The network's weights or answers are no numbers: train it with a smaller rate; nothing is written."

_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # in names: control characters, and halves of characters


def save_run(
    module: ImageClassifier,
    folder: str | Path,
    data: ImageDataModule | None = None,
    classes: Sequence[str] | None = None,
) -> Run | None:
    """Write a classifier that was trained under any Trainer as a Run, for ``load``, ``export``, ``push``, ``compare``.

    With its data the Run keeps which image is in which part, the test images are answered for ``metrics.json`` (which
    ``push`` and ``compare`` want), and those to train and to validate on tell it what known images look like. What the
    module was trained with beside its recipe is not known.

    Args:
        module: Its network is one of ``create_backbone``, or of timm.
        folder: A new or empty one.
        data: What it was trained on.
        classes: Class names in the order of the outputs; by default those of the data, or of the data module that it
            was trained with.

    Raises:
        UserError: The module is no ``ImageClassifier``, its network or its classes are not known, it answers with no
            numbers, it is for several labels an image and there is no data to choose their thresholds on, or the
            folder is in use. Nothing has been written then.

    Returns:
        The run; None in all processes of a distributed training but the first.
    """
    if not isinstance(module, ImageClassifier):
        raise UserError(f"save_run takes an ImageClassifier, not a {type(module).__name__}.")
    given.check_kind("data", data, ImageDataModule)
    if not isinstance(folder, str | Path):
        raise UserError(f"save_run takes the folder to write, not {folder!r}.")
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
        return None
    several = module.recipe.multilabel
    if several and not (data and len(data.dataset.val)):
        raise UserError("The thresholds of several labels are chosen on images to validate on: give save_run data=.")
    if data:
        given.check_same_kind(data, module.recipe)
    folder = Path(folder)
    with undisturbed(), _new(folder):
        names = _class_names(module, data, classes)
        spec = _spec_of(module)
        model = _like(module, spec)
        network = ImageClassifier(model, module.preprocessing)
        tested = _predicted(network, data, data.dataset.test) if data else None
        details: dict[str, Any] = {}
        if several and data and isinstance(tested, MultilabelPredictions):
            validated = _predicted(network, data, data.dataset.val)
            assert isinstance(validated, MultilabelPredictions)
            thresholds = choose_thresholds(validated)
            tested = replace(tested, thresholds=thresholds)
            details["thresholds"] = dict(zip(names, thresholds.tolist(), strict=True))
        known = _known(network, data) if data else None
        run = Run.create(folder, _options(module, spec, data))
        task = "multilabel" if several else "classification"
        ModelCard.of(task, spec, names, module.preprocessing.to_dict(), details).write(run.model)
        write_atomic(run.weights, model_bytes(model))
        write_timm_config(run)
        if known:
            known.write(run.known)
        if data and data.dataset.division:
            data.dataset.split().write(run.split)
        if data and tested:
            write_answers(run.test_predictions, tested, data.dataset.test, names)
            run.write_metrics(test={name: estimate.to_dict() for name, estimate in score(tested).items()})
        return run


@contextlib.contextmanager
def _new(folder: Path) -> Iterator[None]:
    """Hold a new or empty folder; what was made of it is taken away if nothing is written.

    Raises:
        UserError: It holds something, is being written by another process, or cannot be written.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with claimed(folder):
            if not is_unused(folder):
                holds = "holds another run" if Run.is_run(folder) else "exists and is not empty"
                raise UserError(f"{folder} {holds}: give save_run a new or empty folder.")
            yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in missing:
                path.rmdir()
        raise


def _options(module: ImageClassifier, spec: BackboneSpec, data: ImageDataModule | None) -> TrainOptions:
    """What is known of the training, as its command would have recorded it."""
    size = module.preprocessing.size
    options = TrainOptions(backbone=spec.name, image_size=size, weights=NOT_RECORDED, augment=NOT_RECORDED)
    for name in module.recipe.__dataclass_fields__:
        setattr(options, name, getattr(module.recipe, name))
    if data:
        found = data.dataset.found
        options.data = settled(str(found.source if found else data.dataset.name), NAMED_DATASETS)
        options.batch_size = data.batch_size
    return options


@torch.inference_mode()
def _predicted(network: ImageClassifier, data: ImageDataModule, examples: Examples) -> AnyPredictions:
    """The answers to images, by this process alone.

    Raises:
        UserError: They are no numbers.
    """
    device = best_device()
    network.to(device).eval()
    loaders = EvaluationData(network.preprocessing, data.batch_size, data.workers)
    batches = loaders.evaluation_loader(examples)
    logits, labels = zip(*((network(images.to(device)).cpu(), labels) for images, labels, *_ in batches), strict=True)
    network.cpu()
    if not torch.cat(logits).isfinite().all():
        raise UserError(NO_NUMBERS)
    return predictions_from_logits(torch.cat(logits).numpy(), torch.cat(labels).numpy())


def _known(network: ImageClassifier, data: ImageDataModule) -> KnownScore | None:
    """What tells known images from others; None where an image that was trained on cannot be read any more."""
    loaders = EvaluationData(network.preprocessing, data.batch_size, data.workers)
    try:
        return learn_known(network.model, network.normalize, loaders, data.dataset, best_device())
    except UserError as error:
        tell(f"Warning: The run keeps no measure of how known images look. {error}")
        return None
    finally:
        network.cpu()


def _like(module: ImageClassifier, spec: BackboneSpec) -> nn.Module:
    """The network as whoever opens the Run builds it, with the module's weights.

    Raises:
        UserError: It answers otherwise, or with no numbers.
    """
    own = deepcopy(module.model).cpu().float().eval()
    if not all(value.isfinite().all() for value in own.state_dict().values()):
        raise UserError(NO_NUMBERS)
    like = create_backbone(spec, "none", module.num_classes, image_size=module.preprocessing.size).eval()
    like.load_state_dict(own.state_dict())
    size = module.preprocessing.size
    images = torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = own(images), like(images)
    if not expected.isfinite().all():
        raise UserError(NO_NUMBERS)
    if not torch.allclose(found, expected, rtol=0, atol=1e-3 * float(expected.abs().max())):
        raise UserError(
            f"The network answers otherwise than {spec.name} as create_backbone builds it, with the same weights: it "
            "was made with other arguments, such as another activation or pooling, which a Run does not keep."
        )
    return like


def _class_names(module: ImageClassifier, data: ImageDataModule | None, classes: Sequence[str] | None) -> list[str]:
    trained_with = getattr(module._trainer, "datamodule", None)
    known = (data.classes if data else None) or module.classes or getattr(trained_with, "classes", None)
    names = list(known or () if classes is None else classes)
    in_order = classes is None or isinstance(classes, list | tuple)
    if not in_order or not all(isinstance(name, str) and name.strip() and not _UNFIT.search(name) for name in names):
        raise UserError(f"classes= takes a list of the names of the classes, a text each in one line, not {classes!r}.")
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
