"""The search itself: Optuna's NSGA-II over the space, each network scored with the supernet's weights."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixtransfer.backbones import Architecture
from mixtransfer.common.messages import in_minutes
from mixtransfer.errors import UserError
from mixtransfer.runs.trials import open_study
from mixtransfer.search.options import SearchOptions
from mixtransfer.search.ranking import FEWEST, Predictor
from mixtransfer.search.scoring import Score, Scorer
from mixtransfer.search.space import Decisions, Space

Say = Callable[[str], None]

GIVE_UP = 300  # networks in a row that are too dear or known already: there is hardly a new one left
REPORTS = 20  # sentences about how far the search is
# When so much of the search is over, every other network is the best of so many that a predictor picks.
GUIDED, PICKED_OF = 0.5, 200
BYTES = 4  # of a weight in a file


@dataclass(frozen=True)
class Candidate:
    """A network that was scored.

    Attributes:
        decisions: See ``Space``.
        score: Of the validation images, with the supernet's weights.
        macs: Multiply-adds of an image.
        cost: What was weighed against the score: ``macs``, or seconds an image.
    """

    decisions: Decisions
    score: Score
    macs: int
    cost: float


class Study:
    """The trials of a search in Optuna's storage. What has been scored, here or elsewhere, is never scored again.

    Args:
        folder: Of the search; without a storage of its own it holds ``trials.sqlite3``.
        seeded: Whether the sampling follows from the seed; of several processes one should.
        latency: Seconds for an image, where they are the cost.

    Raises:
        UserError: Optuna is missing, or the storage cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        options: SearchOptions,
        space: Space,
        seeded: bool = True,
        latency: Callable[[Architecture], float] | None = None,
    ):
        optuna, self.study = open_study(folder, options.storage, "search", directions=["minimize", "minimize"])
        self.options, self.space, self.latency = options, space, latency
        self.states = optuna.trial.TrialState
        self._built: dict[int, Architecture] = {}  # by trial
        self.distributions: dict[str, Any] = {
            name: optuna.distributions.CategoricalDistribution(choices) for name, choices in space.choices.items()
        }
        begun = len(self.study.get_trials(deepcopy=False))
        old = any("thirds" not in trial.user_attrs for trial in self._scored())
        if old or {one.name for one in self.study.directions} != {"MINIMIZE"}:
            raise UserError(f"{folder} holds a search of an older version: choose another --output.")
        # A search that goes on must not draw again what it drew at its beginning.
        seed = options.seed + begun if seeded else None
        self.study.sampler = optuna.samplers.NSGAIISampler(population_size=options.population, seed=seed)
        self.generator = np.random.default_rng(None if seed is None else (seed, begun))

    def belong_to(self, supernet: str) -> None:
        """See to it that all trials are scored with one supernet's weights.

        Args:
            supernet: A digest of them.

        Raises:
            UserError: The trials are of another.
        """
        known = self.study.user_attrs.get("supernet")
        if known is None:
            self.study.set_user_attr("supernet", supernet)
        elif known != supernet:
            raise UserError(
                "The trials kept here were scored with another supernet's weights: choose another --output, and with "
                "--storage a folder of another name."
            )

    def candidates(self) -> list[Candidate]:
        """All networks that have been scored, in that order."""
        return [
            Candidate(
                trial.params,
                Score(
                    trial.values[0],
                    trial.user_attrs["top1"],
                    tuple(trial.user_attrs["thirds"]),
                    trial.user_attrs["error"],
                ),
                self.space.macs(trial.params),
                trial.values[1],
            )
            for trial in self._scored()
        ]

    def run(self, scorer: Scorer, say: Say) -> list[Candidate]:
        """Score networks until there are as many as the options ask for, and return all of them."""
        wanted, rejected = self.options.trials, 0
        known = self._known()
        if not known:  # else the first generation would hardly have any where few networks fit
            for _ in range(min(wanted, self.options.population)):
                self.study.enqueue_trial(dict(self._drawn()), skip_if_exists=True)
        began, first, told = time.perf_counter(), len(known), len(known)
        while len(known) < wanted and rejected < GIVE_UP:
            if len(known) >= max(FEWEST, GUIDED * wanted) and len(known) % 2:
                self._enqueue_picked(known)
            trial = self.study.ask(self.distributions)
            new = self.space.architecture(trial.params) not in known
            found = self._score(trial.params, scorer) if new else None
            if found is None:
                self.study.tell(trial, state=self.states.PRUNED)
                rejected += 1
                continue
            score, cost = found
            for name in ("top1", "thirds", "error"):
                trial.set_user_attr(name, getattr(score, name))
            self.study.tell(trial, (score.loss, cost))
            rejected, known = 0, self._known()
            if len(known) >= told + max(1, wanted // REPORTS):
                told = len(known)
                left = (time.perf_counter() - began) / (told - first) * max(0, wanted - told)
                best = min(known.values())
                say(f"{told}/{wanted} networks scored, the least log loss {best:.3f}, about {in_minutes(left)} left.")
        if rejected == GIVE_UP:
            say(f"After {len(known)} networks, hardly another one within the budget is new.")
        return self.candidates()

    def _enqueue_picked(self, known: Mapping[Architecture, float]) -> None:
        """Have the next trial be the network of many, all new and within the budget, that a predictor likes best."""
        scored = self._scored()
        predict = Predictor(self.space, [trial.params for trial in scored], [trial.values[0] for trial in scored])
        drawn = [self._drawn() for _ in range(PICKED_OF)]
        drawn = [decisions for decisions in drawn if self.space.architecture(decisions) not in known]
        if drawn:
            self.study.enqueue_trial(dict(drawn[int(predict(drawn).argmin())]))

    def _known(self) -> dict[Architecture, float]:
        scored = self._scored()
        for trial in scored:
            if trial.number not in self._built:
                self._built[trial.number] = self.space.architecture(trial.params)
        return {self._built[trial.number]: trial.values[0] for trial in scored}

    def _scored(self) -> list[Any]:
        return self.study.get_trials(deepcopy=False, states=(self.states.COMPLETE,))

    def _drawn(self) -> Decisions:
        """A random network that is within the budgets."""
        return self.space.shrunk(self.space.sample(self.generator), self.fits, self.generator)

    def fits(self, decisions: Decisions) -> bool:
        """Whether a network is within the budgets."""
        architecture = self.space.architecture(decisions)
        quick = self.latency is None or 1000 * self.latency(architecture) <= (self.options.budget_ms or math.inf)
        return quick and is_small(architecture, self.options, self.space.num_classes)

    def _score(self, decisions: Decisions, scorer: Scorer) -> tuple[Score, float] | None:
        """Score and cost; None if the network does not fit the budget."""
        if not self.fits(decisions):
            return None
        architecture = self.space.architecture(decisions)
        cost = self.latency(architecture) if self.latency else self.space.macs(decisions)
        return scorer.score(scorer.network(architecture)), cost


def is_small(architecture: Architecture, options: SearchOptions, classes: int) -> bool:
    """Whether a network is within the budgets but for latency."""
    numbers = architecture.parameters(classes, statistics=True)
    return (
        architecture.macs(num_classes=classes) <= (options.budget_macs or math.inf)
        and architecture.parameters(classes) <= (options.budget_params or math.inf)
        and BYTES * numbers <= 1e6 * (options.budget_mb or math.inf)
    )


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other beats, the cheapest first: each is better than all that cost less."""
    best: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: (one.cost, one.score.loss)):
        if not best or candidate.score.loss < best[-1].score.loss:
            best.append(candidate)
    return best
