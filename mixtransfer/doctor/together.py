"""Findings about labels of images that may have several: which go together so that they cannot be told apart."""

import numpy as np

from mixtransfer.data.division import counted
from mixtransfer.data.labels import is_multilabel
from mixtransfer.doctor.finding import Example, Finding

FEWEST = 5  # images with a label, below which it is no wonder that another is always there


def together_findings(labels: np.ndarray, classes: list[str]) -> list[Finding]:
    """What is odd about which labels stand together.

    Args:
        labels: Of the usable images; see ``mixtransfer.data.labels``.
    """
    if not is_multilabel(labels) or not len(labels):
        return []
    counts = labels.sum(axis=0, dtype=np.int64)
    both = labels.T.astype(np.int64) @ labels.astype(np.int64)
    findings = []
    if everywhere := [name for name, count in zip(classes, counts, strict=True) if count == len(labels)]:
        findings.append(
            Finding(
                "label_everywhere",
                "error",
                f"{counted(len(everywhere), 'label')} of every image.",
                "Add images without it, or take it out: nothing can be learnt of it.",
                [Example(name) for name in everywhere],
            )
        )
    every = [(i, j) for i in range(len(classes)) for j in range(len(classes)) if i != j and counts[i]]
    pairs = [(i, j) for i, j in every if j < i and both[i, j] == counts[i] == counts[j]]
    if pairs:
        findings.append(
            Finding(
                "same_labels",
                "warning",
                f"{counted(len(pairs), 'pair')} of labels that stand on the same images.",
                "They cannot be told apart: merge them, or add images of one alone.",
                [Example(f"{classes[j]} and {classes[i]}: {counted(int(counts[i]))}") for i, j in pairs],
            )
        )
    implied = [(i, j) for i, j in every if counts[i] >= FEWEST and both[i, j] == counts[i] < counts[j] < len(labels)]
    if implied:
        stand = "stand" if len({i for i, _ in implied}) > 1 else "stands"
        findings.append(
            Finding(
                "never_alone",
                "note",
                f"{counted(len({i for i, _ in implied}), 'label')} that never {stand} without another.",
                "If one means the other all is well; if not, the network may learn the one for the other: add images.",
                [Example(f"{classes[i]} always with {classes[j]}: {counted(int(counts[i]))}") for i, j in implied],
            )
        )
    if bare := int((~labels.any(axis=1)).sum()):
        findings.append(
            Finding(
                "no_label",
                "note",
                f"{counted(bare)} without any label.",
                "They count as showing none of the classes; if their labels are not known, take them out.",
            )
        )
    return findings
