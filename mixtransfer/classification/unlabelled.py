"""Learning from images without labels too: those are trained on whose class a first answer is sure of (pseudo-labels).

Source: Lee, "Pseudo-label: the simple and efficient semi-supervised learning method", ICML workshop 2013.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from torch.utils.data import DataLoader

from mixtransfer.answers import UNKNOWN_BELOW
from mixtransfer.classification.defaults import Say, resolve
from mixtransfer.classification.folds import FittedHead, with_parts
from mixtransfer.classification.head import fit_linear_head, pooled_features
from mixtransfer.classification.known_fit import known_by
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.selection import HEAD, judge
from mixtransfer.classification.training import Training
from mixtransfer.common.files import write_atomic
from mixtransfer.data.dataset import Examples
from mixtransfer.data.division import counted
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run

SURE = 0.7  # probability from which on an answer is taken for a label
COLUMNS = ("path", "class", "probability")


def take_unlabelled(training: Training, head: FittedHead | None, asked: TrainOptions) -> None:
    """Add those of the images without labels to the images to fine-tune on that get one, as the run keeps them.

    Labels are given by the teacher, if there is one, else by the head on frozen features. Where a head is fitted, an
    image that looks like none of the classes gets none.

    Args:
        head: What was fitted in this process.
        asked: The options before they were resolved: what they leave open follows the number of images.

    Raises:
        UserError: A training goes on, and which labels were given is not known any more.
    """
    run = training.run
    if training.options.unlabelled is None or run is None:
        return
    if run.pseudo_labels.exists():
        found = _still_there(read_pseudo_labels(run, training.dataset.classes), training.say)
    elif training.earlier:
        raise UserError(f"{run.pseudo_labels} is missing, so what was trained on is not known: train anew.")
    else:
        found = _given(training, run, head, asked)
    if not found:
        return
    files, labels = zip(*found, strict=True)
    labelled = Examples([Path(file) for file in files], np.array(labels, dtype=np.int64))
    data = training.data
    training.tuning = with_parts(data, data.dataset.train.joined(labelled), data.dataset.val)
    training.history.images = len(training.tuning.dataset.train)


def _given(training: Training, run: Run, head: FittedHead | None, asked: TrainOptions) -> list[tuple[str, int]]:
    """File and class of each image that gets a label, which the run then keeps."""
    files, classes = training.unlabelled, training.dataset.classes
    probabilities = _answers(training, head)
    best, sure = probabilities.argmax(1), probabilities.max(1)
    kept = np.flatnonzero(sure >= SURE)
    counts = np.bincount(best[kept], minlength=len(classes))
    each = f", {counts.min():,} to {counts.max():,} a class" if len(kept) else ""
    training.say(f"Of {counted(len(files))} without labels {len(kept):,} get one{each}: {run.pseudo_labels}.")
    if not asked.resume:
        open_options = replace(training.options, epochs=asked.epochs, lr=asked.lr, warmup_epochs=asked.warmup_epochs)
        known = resolve(open_options, training.dataset, training.module.model, unlabelled=len(kept))
        rate = known.lr if isinstance(known.lr, float) else training.options.lr
        training.settle(epochs=known.epochs, warmup_epochs=known.warmup_epochs, lr=rate)
        training.trainer.fit_loop.max_epochs = known.epochs
    _write(run.pseudo_labels, [(str(files[i]), classes[best[i]], f"{sure[i]:.4f}") for i in kept])
    return [(str(files[i]), int(best[i])) for i in kept]


def _still_there(found: list[tuple[str, int]], say: Say) -> list[tuple[str, int]]:
    there = [(file, label) for file, label in found if Path(file).is_file()]
    if gone := len(found) - len(there):
        say(f"Warning: {counted(gone)} without labels {'is' if gone == 1 else 'are'} not there any more.")
    return there


def read_pseudo_labels(run: Run, classes: Sequence[str]) -> list[tuple[str, int]]:
    """File and class of each image that got a label.

    Raises:
        UserError: The run's file is damaged.
    """
    try:
        with run.pseudo_labels.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return [(row["path"], classes.index(row["class"])) for row in csv.DictReader(file, strict=True)]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise UserError(f"{run.pseudo_labels} is damaged: train anew.") from error


def _answers(training: Training, head: FittedHead | None) -> np.ndarray:
    """Probabilities of the images without labels, shape (n, classes); 0 of those that look like none of the classes."""
    module, files = training.module, training.unlabelled
    device = training.trainer.strategy.root_device
    loader = training.data.evaluation_loader(Examples(files, np.zeros(len(files), dtype=np.int64)))
    known = known_by(head.features, training.dataset) if head else None
    x = None
    if head:
        title = f"Features of {len(files):,} images without labels"
        x = pooled_features(module.model, module.normalize, loader, device, flip=False, title=title).x
    if module.teacher:
        logits = _taught(training, loader, device)
    else:
        assert head and x is not None  # see ``prepare``
        judged = judge(head.evidence.predictions[HEAD], module.class_weights)
        # Not of the images to validate on too: these labels would know theirs.
        own = fit_linear_head(
            head.features[np.arange(len(training.dataset.train))], head.strength, module.class_weights is not None
        )
        logits = own.logits(x) / judged.temperature
    probabilities = softmax(logits, axis=1)
    if known is not None and x is not None:
        with torch.inference_mode():
            probabilities[known(torch.from_numpy(x)).numpy() < UNKNOWN_BELOW] = 0
    return probabilities


@torch.inference_mode()
def _taught(training: Training, loader: DataLoader, device: torch.device) -> np.ndarray:
    """The teacher's logits, shape (n, classes)."""
    module = training.module
    assert module.teacher
    normalize = module.normalize.to(device)
    return np.concatenate(
        [
            module.teacher.logits(normalize(images.to(device)), module.preprocessing).cpu().numpy()
            for images, *_ in loader
        ]
    )


def _write(path: Path, rows: Sequence[tuple]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)  # a name may hold a carriage return
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
