"""`--preview`: a page of what a classifier would be trained on."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.backbones.capability import check_classifier
from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.classification.defaults import check, resolve
from mixtransfer.classification.options import MACHINE_OPTIONS, TrainOptions
from mixtransfer.classification.recipe import Recipe
from mixtransfer.common.messages import tell
from mixtransfer.data.labels import SEPARATOR, label_names
from mixtransfer.data.own_augment import kept_pipeline
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.report.preview import BATCHES, IMAGES, preview_path, write_page
from mixtransfer.runs.run import reopen
from mixtransfer.runs.run_data import training_images


def write_preview(options: TrainOptions, path: Path | None = None, say: Callable[[str], None] = tell) -> Path:
    """Write the first batches of a training as its network would see them, without training anything.

    Args:
        path: Of the page; by default beside the run's folder.
        say: Where sentences for the user go.

    Raises:
        UserError: An option or the data cannot be used.
    """
    run = None
    if options.resume:
        run, options = reopen(options, MACHINE_OPTIONS)
    check(options)
    spec = backbone_spec(options.backbone)
    check_classifier(spec, options.image_size)
    dataset = training_images(options, run)
    model = create_backbone(spec, "none", num_classes=len(dataset.classes), image_size=options.image_size)
    options = resolve(options, dataset, model, say)
    preprocessing = Preprocessing.of(model, options.image_size)
    augment = kept_pipeline(run.augment, options.augment) if run else None
    data = ImageDataModule.of(dataset, preprocessing, replace(options, workers=0), augment)
    mix = Recipe.of(options).mixing(len(dataset.classes))
    torch.manual_seed(options.seed)
    batches = []
    for images, labels in islice(data.train_dataloader(), BATCHES):
        several = labels.ndim == 2
        views = images.float()
        shares = labels.float() if several else torch.nn.functional.one_hot(labels, len(dataset.classes)).float()
        if mix is not None:
            views, shares = mix(views, labels)
        batches.append([_captioned(*one, dataset.classes) for one in zip(views, shares, strict=True)][:IMAGES])
    chosen = dataset.val.subset(np.arange(min(IMAGES, len(dataset.val))))
    evaluated = [
        (preprocessing.central_view(chosen.image(i, preprocessing.min_side)), name.replace(SEPARATOR, ", "))
        for i, name in enumerate(label_names(chosen.labels, dataset.classes))
    ]
    mixed = f", mixup {options.mixup:g} and CutMix {options.cutmix:g}" if mix is not None else ""
    how = f"At {preprocessing.size} pixels, augmentation {options.augment!r}{mixed}, batches of {data.batch_size}."
    path = path or preview_path(options)
    write_page(path, dataset.name, dataset.notes, batches, evaluated, how)
    return path


def _captioned(view: torch.Tensor, shares: torch.Tensor, classes: list[str]) -> tuple[np.ndarray, str]:
    """A view (3, height, width) for a page, and the names of its classes, with their shares if it has several."""
    largest = [int(i) for i in shares.argsort(descending=True) if shares[i] > 0]
    mixed = any(shares[i] < 1 for i in largest)
    names = [f"{100 * float(shares[i]):.0f} % {classes[i]}" if mixed else classes[i] for i in largest]
    pixels = view.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels), ", ".join(names)
