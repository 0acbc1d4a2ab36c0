"""The comparison's result: a row a backbone, from its runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import final

from mixtransfer.classification.metrics import Estimate
from mixtransfer.comparison.cost import Cost, measure_costs, training_cost
from mixtransfer.comparison.outcomes import OUTCOMES
from mixtransfer.comparison.statistics import McNemar
from mixtransfer.run import Run

SCORES = {"classify": "top1", "detect": "AP"}


@final
@dataclass
class Row:
    """What is known of one backbone.

    Attributes:
        runs: Its finished trainings.
        test_images: Number of images that it was tested on.
        score: Accuracy or average precision over seeds and images, None if no training finished.
        by_seed: The score of each training.
        difference: Score less the baseline's, on the same images and seeds; None for the baseline itself.
        mcnemar: The test against the baseline, for each seed they share.
        cost: See ``Cost``; None if no training finished.
        training: Of each run: minutes, images_per_second, memory_mb.
        failures: Why trainings failed.
    """

    backbone: str
    runs: list[Run]
    test_images: int = 0
    score: Estimate | None = None
    by_seed: list[float] = field(default_factory=list)
    difference: Estimate | None = None
    mcnemar: list[McNemar] = field(default_factory=list)
    cost: Cost | None = None
    training: list[dict] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def seeds(self) -> int:
        return len(self.by_seed)

    @property
    def minutes(self) -> float | None:
        """Mean time of a training."""
        return sum(one["minutes"] for one in self.training) / len(self.training) if self.training else None

    def to_dict(self, task: str, baseline: str | None) -> dict:
        """An object of ``comparison.json``: fractions, seconds and bytes."""
        against = None
        if self.difference:
            against = {
                "baseline": baseline,
                "difference": self.difference.to_dict(),
                "mcnemar": [asdict(test) for test in self.mcnemar],
            }
        return {
            "backbone": self.backbone,
            SCORES[task]: self.score.to_dict() if self.score else None,
            "by_seed": self.by_seed,
            "test_images": self.test_images,
            "against_baseline": against,
            **(asdict(self.cost) if self.cost else {}),
            "training": self.training,
            "runs": [str(run.folder) for run in self.runs],
            "failures": self.failures,
        }


def gather(
    runs: Mapping[str, Sequence[Run]],
    failures: Mapping[str, list[str]],
    task: str,
    baseline: str | None,
    rounds: int,
    say: Callable[[str], None],
) -> tuple[list[Row], Row | None]:
    """A row for each backbone, in the order given, and the baseline's.

    Args:
        runs: Finished runs of each backbone, by seed.
        failures: Reasons, by backbone.
        baseline: Its name; None takes resnet50 or, without it, the backbone with the most multiply-adds.
        rounds: See ``measure_costs``.

    Raises:
        UserError: A run cannot be read, or the runs were tested on different images or classes.
    """
    rows = {name: Row(name, list(its), failures=failures.get(name, [])) for name, its in runs.items()}
    finished = [row for row in rows.values() if row.runs]
    if not finished:
        return list(rows.values()), None
    outcome = OUTCOMES[task]
    outcome.of([run for row in finished for run in row.runs])  # refuses what cannot be compared
    outcomes = {row.backbone: outcome.of(row.runs) for row in finished}
    costs = measure_costs({row.backbone: row.runs[0] for row in finished}, task, rounds, say)
    for row in finished:
        mine = outcomes[row.backbone]
        row.test_images, row.score, row.by_seed = mine.images, mine.score(), mine.by_seed()
        row.cost = costs[row.backbone]
        row.training = [training_cost(run) for run in row.runs]
    reference = rows.get(baseline) if baseline else _usual_baseline(finished)
    if reference is None or not reference.runs:
        return list(rows.values()), None
    for row in finished:
        if row is not reference:
            first, second = _paired(row.runs, reference.runs)
            mine, other = outcome.of(first), outcome.of(second)
            row.difference, row.mcnemar = mine.less(other), mine.mcnemar(other)
    return list(rows.values()), reference


def _usual_baseline(rows: Sequence[Row]) -> Row:
    named = [row for row in rows if row.backbone.split(".")[0] == "resnet50"]
    return named[0] if named else max(rows, key=lambda row: row.cost.macs if row.cost else 0)


def _paired(first: Sequence[Run], second: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs of both that share a seed, in its order; if none does, as many of each as there are of both."""
    by_seed = [{run.read_config().get("seed"): run for run in runs} for runs in (first, second)]
    shared = [seed for seed in by_seed[0] if seed in by_seed[1]]
    if shared:
        return [by_seed[0][seed] for seed in shared], [by_seed[1][seed] for seed in shared]
    count = min(len(first), len(second))
    return list(first[:count]), list(second[:count])
