"""What a finished training writes into its Run: scores, the report, the answers to the test images."""

from dataclasses import replace

import numpy as np

from mixtransfer.classification.answers import write_answers
from mixtransfer.classification.evidence import Evidence
from mixtransfer.classification.explain import ClassMaps
from mixtransfer.classification.kinds import AnyPredictions, score
from mixtransfer.classification.known import KnownScore
from mixtransfer.classification.metrics import mean_log_loss, selected_on
from mixtransfer.classification.report import write_report
from mixtransfer.classification.stages import Selected
from mixtransfer.classification.timm_config import write_timm_config
from mixtransfer.classification.training import Training
from mixtransfer.data.division import counted
from mixtransfer.runs.loggers import log_results
from mixtransfer.runs.model_card import ModelCard


def write_results(training: Training, selected: Selected, tested: AnyPredictions, known: KnownScore | None) -> None:
    """Write what came of a training, in its first process; the test scores come last: who has them is finished."""
    run, rows, kept, validated = training.run, training.history.rows, training.kept, selected.validated
    if run is None or validated is None:
        return
    if selected.labels:
        card = ModelCard.read(run.model)
        thresholds = dict(zip(card.classes, selected.labels.thresholds.tolist(), strict=True))
        replace(card, details={**card.details, "thresholds": thresholds}).write(run.model)
    if training.options.patience:
        training.say(
            f"Of {counted(rows[-1]['epoch'], 'epoch')} the weights of epoch {kept.epoch} are kept, whose validation "
            "log loss is the least once it is calibrated."
        )
    scores = {"validation": score(validated, intervals=False), "test": score(tested)}
    seconds = sum(row["seconds"] or 0 for row in rows)
    if run.evidence.exists():
        seconds += Evidence.read(run.evidence).seconds
    run.write_metrics(
        validation={name: selected_on(estimate) for name, estimate in scores["validation"].items()},
        training={
            "kept_epoch": kept.epoch,
            "fine_tuned_share": selected.choice.share,
            "validation_images": len(validated.labels),
            "seconds": round(seconds, 1),
            "images_per_second": _median([row["images_per_second"] for row in rows]),
        },
    )
    maps = ClassMaps(training.module.model.eval(), training.module.preprocessing)
    write_report(run, training.options, training.dataset, tested, scores, rows, seconds, maps)
    write_answers(run.test_predictions, tested, training.dataset.test, training.dataset.classes)
    write_timm_config(run)
    if known:
        known.write(run.known)
    values = {name: estimate.value for name, estimate in scores["test"].items()}
    log_results(training.trainer.loggers, values, run.figures, training.trainer.global_step)
    run.write_metrics(
        log_loss={
            part: mean_log_loss(said.losses).to_dict() for part, said in (("validation", validated), ("test", tested))
        },
        test={name: estimate.to_dict() for name, estimate in scores["test"].items()},
    )
    for file in (run.start, run.tuned, run.evidence):
        file.unlink(missing_ok=True)


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.median(known)), 2) if known else None
