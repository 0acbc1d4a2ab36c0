"""The comparison's result: a row a backbone, from its runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any, final

from mixtransfer.backbones.weights import LITE0_PACKAGE
from mixtransfer.classification.metrics import Estimate
from mixtransfer.comparison.cost import Cost, measure_costs, training_cost
from mixtransfer.comparison.detection_outcome import DetectionOutcome
from mixtransfer.comparison.multilabel_outcome import MultilabelOutcome
from mixtransfer.comparison.outcomes import ClassificationOutcome, Outcome, whole
from mixtransfer.comparison.statistics import McNemar
from mixtransfer.comparison.verdict import Claim, choose, claims_of, criterion
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import Run

OUTCOMES: dict[str, Any] = {
    "classification": ClassificationOutcome,
    "multilabel": MultilabelOutcome,
    "detection": DetectionOutcome,
}
SCORES = {"classification": "top1", "multilabel": "mAP", "detection": "AP"}  # as ``metrics.json`` calls them


@final
@dataclass
class Row:
    """What is known of one backbone.

    Attributes:
        runs: Its finished trainings.
        test_images: Number of images that it was tested on.
        score: Accuracy or average precision over seeds and images, None if no training finished.
        by_seed: The score of each training, or of all folds of a seed.
        covers: What its interval knows of; see ``Outcome``.
        validation: The score (see ``scored_by``) and "log_loss" on validation as fractions and nats, and the number of
            these "images": means over the trainings, as far as all have them.
        claims: What may be said of it beside each other backbone, by name.
        mcnemar: The test against the baseline, for each seed they share.
        weights: What the trainings started from: timm's tag, "none", or a file.
        cost: See ``Cost``; None if no training finished.
        training: Of each run: minutes, images_per_second, memory_mb, lr.
        failures: Why trainings failed.
        scored_by: What the score is: "top1", of several labels an image "mAP", of detectors "AP".
    """

    backbone: str
    runs: list[Run]
    test_images: int = 0
    score: Estimate | None = None
    by_seed: list[float] = field(default_factory=list)
    covers: tuple[str, ...] = ()
    validation: dict[str, float] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    mcnemar: list[McNemar] = field(default_factory=list)
    weights: str = ""
    cost: Cost | None = None
    training: list[dict] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    scored_by: str = "top1"

    @property
    def seeds(self) -> int:
        return len(self.by_seed)

    @property
    def lr(self) -> float | None:
        """The learning rate, where all trainings have the same."""
        rates = {one["lr"] for one in self.training}
        return rates.pop() if len(rates) == 1 else None


def score_name(rows: Sequence[Row]) -> str:
    """What the scores are; see ``Row``."""
    return next((row.scored_by for row in rows if row.score), "top1")


def to_dicts(rows: Sequence[Row], baseline: Row | None) -> list[dict]:
    """The objects of ``comparison.json``: fractions, seconds and bytes."""
    best, by = choose(rows), criterion(rows)
    return [
        {
            "backbone": row.backbone,
            "weights": row.weights,
            score_name(rows): row.score.to_dict() if row.score else None,
            "interval_covers": list(row.covers),
            "by_seed": row.by_seed,
            "test_images": row.test_images,
            "validation": row.validation,
            "chosen": row is best,
            "chosen_by": by and f"validation {by}",
            "lr": row.lr,
            "against_baseline": _against(row, "baseline", baseline),
            "against_chosen": _against(row, "chosen", best),
            **({**asdict(row.cost), "fastest": row.cost.fastest} if row.cost else {}),
            "training": row.training,
            "runs": [str(run.folder) for run in row.runs],
            "failures": row.failures,
        }
        for row in rows
    ]


def _against(row: Row, key: str, other: Row | None) -> dict | None:
    claim = row.claims.get(other.backbone) if other else None
    if other is None or claim is None:
        return None
    tests = {"mcnemar": [asdict(test) for test in row.mcnemar]} if key == "baseline" else {}
    return {key: other.backbone, **claim.to_dict(), **tests}


def outcome_of(runs: Sequence[Run]) -> Outcome:
    """What trainings of one backbone got on the test set.

    Raises:
        UserError: See ``gather``.
    """
    return OUTCOMES[ModelCard.read(runs[0].model).task].of(runs)


def gather(
    runs: Mapping[str, Sequence[Run]],
    failures: Mapping[str, list[str]],
    task: str,
    baseline: str | None,
    margin: float | None,
    rounds: int,
    say: Callable[[str], None],
) -> tuple[list[Row], Row | None]:
    """A row for each backbone, in the order given, and the baseline's.

    Args:
        runs: Finished runs of each backbone, by seed.
        failures: Reasons, by backbone.
        baseline: Its name; None takes resnet50 or, without it, the backbone with the most multiply-adds.
        margin: See ``claims_of``.
        rounds: See ``measure_costs``.

    Raises:
        UserError: A run cannot be read, or the runs were tested on different images or classes.
    """
    rows = {}
    for name, (used, left_out) in whole(runs).items():
        rows[name] = Row(name, used, failures=[*failures.get(name, []), *left_out])
    finished = [row for row in rows.values() if row.runs]
    if not finished:
        return list(rows.values()), None
    kinds = {ModelCard.read(row.runs[0].model).task for row in finished}
    if len(kinds) > 1:
        raise UserError("Of the runs to compare some are for one class an image and some for several labels.")
    kind = kinds.pop()
    outcomes = {row.backbone: outcome_of(row.runs) for row in finished}
    first = outcomes[finished[0].backbone]
    for outcome in outcomes.values():
        first.check_same(outcome)
    claims = claims_of(outcomes, margin)
    costs = measure_costs({row.backbone: row.runs[0] for row in finished}, task, rounds, say)
    for row in finished:
        mine = outcomes[row.backbone]
        row.test_images, row.score, row.by_seed, row.covers = mine.images, mine.score(), mine.by_seed(), mine.covers
        row.validation, row.scored_by = validation_scores(row.runs, SCORES[kind]), SCORES[kind]
        row.claims, row.cost = claims[row.backbone], costs[row.backbone]
        row.weights = starting_weights(row.runs[0])
        row.training = [{**training_cost(run), "lr": run.read_config().get("lr")} for run in row.runs]
    reference = rows.get(baseline) if baseline else _usual_baseline(finished)
    if reference is None or not reference.runs:
        return list(rows.values()), None
    for row in finished:
        if row is not reference:
            row.mcnemar = outcomes[row.backbone].mcnemar(outcomes[reference.backbone])
    return list(rows.values()), reference


def _usual_baseline(rows: Sequence[Row]) -> Row:
    named = [row for row in rows if row.backbone.split(".")[0] == "resnet50"]
    return named[0] if named else max(rows, key=lambda row: row.cost.macs if row.cost else 0)


def validation_scores(runs: Sequence[Run], score: str) -> dict[str, float]:
    """The mean validation score of several trainings and, where all have them, the log loss and number of images."""
    every = [run.read_metrics() for run in runs]
    scale = 100 if score == "AP" else 1  # metrics.json has detectors' average precision in percent
    found = {
        score: [(one.get("validation") or {}).get(score) for one in every],
        "log_loss": [(one.get("log_loss") or {}).get("validation") for one in every],
        "images": [(one.get("training") or {}).get("validation_images") for one in every],
    }
    means = {}
    for name, given in found.items():
        values = [one["value"] if isinstance(one, dict) else one for one in given if one is not None]
        if len(values) == len(every):
            means[name] = float(sum(values)) / len(values) / (scale if name == "AP" else 1)
    return means


def starting_weights(run: Run) -> str:
    """What a training started from, such as "resnet50.a1_in1k", "none", or a file."""
    weights = str(run.read_config().get("weights"))
    if weights != "imagenet":
        return weights
    spec = ModelCard.read(run.model).spec
    if spec.timm_name == "tf_efficientnet_lite0" and "." not in spec.name and find_spec(LITE0_PACKAGE):
        return LITE0_PACKAGE.replace("_", "-")
    return f"{spec.timm_name}.{spec.weights_tag}" if spec.weights_tag else spec.timm_name
