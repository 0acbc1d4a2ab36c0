"""Findings about the classes: missing, tiny, unbalanced, spelled in two ways."""

from collections.abc import Mapping

from mixtransfer.data.division import counted
from mixtransfer.data.quick_checks import class_warnings
from mixtransfer.doctor.finding import Example, Finding

TRAINED_ON = 0.8 * 0.9  # of data that is not split, by the default fractions


def class_findings(counts: Mapping[str, Mapping[str, int]], task: str, multilabel: bool = False) -> list[Finding]:
    """What is odd about the numbers of images (or boxes) of each class.

    Args:
        counts: Part → class name → number of usable examples.
        task: "classify" or "detect".
        multilabel: Whether an image may have several of the classes.
    """
    what = "images" if task == "classify" else "boxes"
    train = counts.get("train") or counts.get("all") or next(iter(counts.values()))
    findings = []
    if len(train) < 2 and task == "classify" and not multilabel:
        findings.append(
            Finding(
                "single_class",
                "error",
                f"There is a single class, {next(iter(train), '')!r}.",
                "Add another: with one there is nothing to tell apart.",
            )
        )
    nothing = task == "classify" and not any(train.values())
    if nothing:
        findings.append(
            Finding("nothing", "error", "None of the images can be used.", "See below why, and mend that first.")
        )
    if not nothing and (missing := [name for name, count in train.items() if not count]):
        findings.append(
            Finding(
                "empty_class",
                "error" if task == "classify" else "warning",
                f"{counted(len(missing), 'class', 'classes')} without any {what} to train on.",
                f"Add {what}, or take the class out.",
                [Example(name) for name in missing],
            )
        )
    whole = "all" in counts and task == "classify"  # of which a part is tested and validated on
    trained = {name: round(TRAINED_ON * count) for name, count in train.items()} if whole else train
    for sentence in class_warnings(trained, what):
        mend = "Add images of the small classes, or merge some."
        if multilabel:
            mend = "Add images of the small classes, or train with --loss asymmetric."
        elif task == "classify":
            mend = "Add images of the small classes, or train with --class-weights balanced."
        mend += " (Counted are 72 % of the images: the others validate and are tested.)" if whole else ""
        findings.append(Finding("imbalance", "warning", sentence, mend))
    for part in counts.keys() - {"train", "all"}:
        if untested := [name for name, count in counts[part].items() if not count and train[name]]:
            findings.append(
                Finding(
                    "untested_class",
                    "note",
                    f"{counted(len(untested), 'class', 'classes')} without any {what} in the {part} part.",
                    "Nothing will be known of how well these are told: add some.",
                    [Example(name) for name in untested],
                )
            )
    spellings: dict[str, list[str]] = {}
    for name in train:
        spellings.setdefault(" ".join(name.casefold().replace("_", " ").replace("-", " ").split()), []).append(name)
    if twice := [names for names in spellings.values() if len(names) > 1]:
        findings.append(
            Finding(
                "spelling",
                "warning",
                f"{counted(len(twice), 'class', 'classes')} spelled in more than one way.",
                "Merge them if they are the same.",
                [Example(" and ".join(map(repr, names))) for names in twice],
            )
        )
    return findings
