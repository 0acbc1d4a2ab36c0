"""Runs that know which images look like those of their classes."""

import shutil
from dataclasses import replace
from pathlib import Path

import torch

from mixtransfer.classification.datamodule import EvaluationData
from mixtransfer.classification.known_fit import learn_known
from mixtransfer.classification.model import open_classifier
from mixtransfer.data.load import load_dataset
from mixtransfer.data.preprocessing import Normalize
from mixtransfer.runs.run import Run


def knowing(run: Path, data: Path, folder: Path) -> Path:
    """A copy of a run with what tells images of ``data`` from others."""
    copy = Run(Path(shutil.copytree(run, folder)))
    trained = open_classifier(run)
    loads = EvaluationData(trained.preprocessing, 8, 0)
    dataset = load_dataset(str(data))
    more = replace(dataset, val=dataset.train.joined(dataset.val).joined(dataset.test))  # shares that differ
    known = learn_known(trained.model, Normalize(trained.preprocessing), loads, more, torch.device("cpu"))
    known.write(copy.known)
    return copy.folder
