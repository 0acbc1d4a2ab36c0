"""What tuning writes: ``best.yaml``, ``tune.json`` and ``report.html``, after the comparison on the test images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure

from mixtransfer.classification.options import TrainOptions
from mixtransfer.common.files import write_atomic
from mixtransfer.comparison.rows import outcome_of
from mixtransfer.comparison.verdict import CRITERIA
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.data.split_file import Split
from mixtransfer.report.circumstances import add_circumstances
from mixtransfer.report.figures import BLUE, GREY, ORANGE, calm, save_figures
from mixtransfer.report.page import Page
from mixtransfer.tune.options import TuneOptions
from mixtransfer.tune.space import changed
from mixtransfer.tune.study import DEFAULT, Say, Study, Tried, named, trained

ERRORS = 1.0  # standard errors over the folds by which settings must gain to take the place of the defaults


def write_results(
    folder: Path,
    options: TuneOptions,
    base: TrainOptions,
    dataset: ImageDataset,
    split: Split,
    study: Study,
    say: Say,
) -> None:
    """Choose, compare with the defaults on the test images, and write everything into the folder.

    The test images are looked at once for each call that finds other settings than those before.
    """
    default, tried = study.default(), study.tried()
    best = choose(default, tried)
    gain, error = best.gain(default)
    tested = None if best is default else _tested(folder, base, best, split, say)
    found = {
        "tried": len(study.finished()),
        "ended_early": len(study.finished()) - len(tried),
        "default": {"loss": default.loss, "losses": default.losses, "settings": default.settings},
        "best": {"loss": best.loss, "losses": best.losses, "settings": best.settings},
        "gain": {"value": gain, "error": error},
        "test": tested,
        "importance": study.importance(),
    }
    write_atomic(folder / "best.yaml", _recipe(options, base, best, default, found))
    _write_page(folder, options, dataset, study, default, best, found)
    write_atomic(folder / "tune.json", json.dumps(found, indent=2) + "\n")  # last: where it is, the rest is whole


def choose(default: Tried, tried: list[Tried]) -> Tried:
    """The settings of the least log loss, unless the folds do not agree that they are better than the defaults.

    They take the defaults' place where they gain more than one standard error over the folds: the best of many trials
    is always better on the folds that chose it.
    """
    best = min([default, *tried], key=lambda one: one.loss)
    gain, error = best.gain(default)
    return best if gain > ERRORS * error else default


def in_words(found: Mapping[str, Any]) -> str:
    """What ``tune.json`` says of the best settings."""
    gain = found["gain"]
    if found["test"] is None:
        return (
            f"Of {found['tried']} trials none is better than the defaults by more than a standard error over the "
            "folds: the defaults stay."
        )
    test = found["test"]["difference"]
    value, low, high = (100 * test[key] for key in ("value", "low", "high"))
    verdict = "better" if low > 0 else "worse" if high < 0 else "not to be told apart from them"
    return (
        f"On the folds the log loss is {gain['value']:.4f} less than with the defaults (standard error "
        f"{gain['error']:.4f}). On {found['test']['images']:,} test images, which no trial saw, the difference of "
        f"{CRITERIA[found['test'].get('score', 'top1')]} is {value:+.1f} points ({low:+.1f} to {high:+.1f}): {verdict}."
    )


def _tested(folder: Path, base: TrainOptions, best: Tried, split: Split, say: Say) -> dict[str, Any]:
    """Trainings with the defaults and the best settings on all images to train on, compared on the test images."""
    say("Training with the defaults and with the best settings for the test.")
    # Later trials may find other settings, whose training is another one.
    runs = {
        "default": trained(folder / "final" / DEFAULT, base, split),
        "best": trained(folder / "final" / named(best.settings), changed(base, best.settings), split),
    }
    outcomes = {name: outcome_of([run]) for name, run in runs.items()}
    metrics = {name: run.read_metrics() for name, run in runs.items()}
    difference = outcomes["best"].less(outcomes["default"]).estimate
    score = next(iter(metrics["best"]["test"]))  # the one that decides
    return {
        "images": outcomes["best"].images,
        "score": score,
        **{name: found["test"][score] for name, found in metrics.items()},
        "difference": difference.to_dict(),
        "log_loss": {name: found["log_loss"]["test"] for name, found in metrics.items()},
    }


def _recipe(options: TuneOptions, base: TrainOptions, best: Tried, default: Tried, found: Mapping[str, Any]) -> str:
    """A file for ``classify train --config``: the data, the backbone, and what differs from the defaults."""
    usual = TrainOptions()
    asked = {name: getattr(base, name) for name in vars(usual) if name not in ("devices", "workers", "precision")}
    values = {"data": base.data, "backbone": base.backbone, "weights": base.weights}
    values |= {name: value for name, value in asked.items() if value != getattr(usual, name)}
    values |= {} if best is default else best.settings
    head = f"# Tuned by {found['tried']} trials on {options.folds} folds.\n# {in_words(found)}\n"
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _write_page(
    folder: Path,
    options: TuneOptions,
    dataset: ImageDataset,
    study: Study,
    default: Tried,
    best: Tried,
    found: Mapping[str, Any],
) -> None:
    drawn = {"trials": _trials(study, default)}
    if found["importance"]:
        drawn["importance"] = _importance(found["importance"])
    save_figures(drawn, folder / "figures")
    page = Page(
        f"Tuning on {dataset.name}",
        f"{found['tried']} trials of {options.backbone} on {options.folds} folds of the images to train and validate "
        f"on, {found['ended_early']} of them ended early.",
    )
    page.headline(
        [
            ("Log loss, defaults", f"{default.loss:.4f}", "mean of the folds"),
            ("Log loss, best", f"{best.loss:.4f}", "the defaults" if best is default else "mean of the folds"),
        ]
    )
    page.note(in_words(found))
    page.section("The trials")
    page.figure(
        drawn["trials"], "Log loss of each trial that was tried on all folds; the line is that of the defaults."
    )
    page.section(
        "What mattered",
        "The share of the variation of the log loss that each setting explains (fANOVA, Hutter et al., ICML 2014), "
        "over the range that was tried.",
    )
    if "importance" in drawn:
        page.figure(drawn["importance"], "Shares by setting, those of interactions divided among them.")
    else:
        page.note("Too few trials were tried on all folds to tell.")
    names = list(default.settings)
    rows = [["defaults", f"{default.loss:.4f}", *(_text(default.settings[name]) for name in names)]]
    rows += [[str(i), f"{one.loss:.4f}", *(_text(one.settings[name]) for name in names)]
             for i, one in enumerate(study.tried(), 1)]  # fmt: skip
    page.section("Settings", "The best first.")
    page.table(["", "log loss", *names], rows)
    add_circumstances(page, options, {}, dataset.skipped, ["optuna"])
    page.write(folder / "report.html")


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _trials(study: Study, default: Tried) -> Figure:
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    trials = [trial for trial in study.finished() if "losses" in trial.user_attrs]
    axes.scatter([trial.number for trial in trials], [trial.value for trial in trials], s=14, color=BLUE)
    axes.axhline(default.loss, color=ORANGE, linewidth=1, label="defaults")
    axes.set(xlabel="trial", ylabel="log loss, mean of the folds")
    axes.legend(frameon=False)
    calm(axes)
    return figure


def _importance(shares: Mapping[str, float]) -> Figure:
    figure = Figure(figsize=(6.4, 0.6 + 0.36 * len(shares)), layout="constrained")
    axes = figure.subplots()
    names = [name.replace("_", "-") for name in shares]
    axes.barh(names, [100 * share for share in shares.values()], color=GREY)
    axes.invert_yaxis()
    axes.set(xlabel="share of the variation (%)")
    calm(axes)
    return figure
