"""The search itself: Optuna's NSGA-II over the space, each network scored with the supernet's weights."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mixtransfer.backbones import Architecture
from mixtransfer.console import in_minutes
from mixtransfer.deploy.latency import measure
from mixtransfer.errors import UserError
from mixtransfer.search.options import SearchOptions
from mixtransfer.search.scoring import Scorer
from mixtransfer.search.space import Decisions, Space

Say = Callable[[str], None]

LATENCY_ROUNDS = 5
GIVE_UP = 300  # networks in a row that are too dear or known already: there is hardly a new one left
REPORTS = 20  # sentences about how far the search is


@dataclass(frozen=True)
class Candidate:
    """A network that was scored.

    Attributes:
        decisions: See ``Space``.
        top1: A fraction of the validation images, with the supernet's weights.
        macs: Multiply-adds of an image.
        cost: What was weighed against accuracy: ``macs``, or seconds an image.
    """

    decisions: Decisions
    top1: float
    macs: int
    cost: float


class Study:
    """The trials of a search in Optuna's storage. What has been scored, here or elsewhere, is never scored again.

    Args:
        folder: Of the search; without a storage of its own it holds ``trials.sqlite3``.
        seeded: Whether the sampling follows from the seed; of several processes one should.

    Raises:
        UserError: Optuna is missing, or the storage cannot be used.
    """

    def __init__(self, folder: Path, options: SearchOptions, space: Space, seeded: bool = True):
        try:
            import optuna
        except ImportError as error:
            raise UserError("search needs Optuna: pip install 'mixtransfer[search]'.") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.options, self.space = options, space
        self.states = optuna.trial.TrialState
        self.distributions: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.CategoricalDistribution(choices) for name, choices in space.choices.items()
        }
        address = options.storage or f"sqlite:///{folder.resolve() / 'trials.sqlite3'}"
        name = folder.name if options.storage else "search"
        try:
            storage = optuna.storages.RDBStorage(address)
            self.study = optuna.create_study(
                storage=storage, study_name=name, directions=["maximize", "minimize"], load_if_exists=True
            )
            begun = len(self.study.get_trials(deepcopy=False))
        except Exception as error:  # whatever the database's driver raises
            reason = " ".join(str(error).split())[:150]
            raise UserError(f"The trials cannot be kept in {address} ({reason}): choose another --storage.") from error
        # A search that goes on must not draw again what it drew at its beginning.
        seed = options.seed + begun if seeded else None
        self.study.sampler = optuna.samplers.NSGAIISampler(population_size=options.population, seed=seed)

    def candidates(self) -> list[Candidate]:
        """All networks that have been scored, in that order."""
        return [
            Candidate(decisions, top1, self.space.macs(decisions), cost) for decisions, (top1, cost) in self._scored()
        ]

    def run(self, scorer: Scorer, say: Say) -> list[Candidate]:
        """Score networks until there are as many as the options ask for, and return all of them."""
        wanted, rejected = self.options.trials, 0
        known = self._known()
        began, first, told = time.perf_counter(), len(known), len(known)
        while len(known) < wanted and rejected < GIVE_UP:
            trial = self.study.ask(self.distributions)
            new = self.space.architecture(trial.params) not in known
            values = self._values(trial.params, scorer) if new else None
            if values is None:
                self.study.tell(trial, state=self.states.PRUNED)
                rejected += 1
                continue
            self.study.tell(trial, values)
            rejected, known = 0, self._known()
            if len(known) >= told + max(1, wanted // REPORTS):
                told = len(known)
                left = (time.perf_counter() - began) / (told - first) * max(0, wanted - told)
                best = 100 * max(known.values())
                say(f"{told}/{wanted} networks scored, the best {best:.1f} %, about {in_minutes(left)} left.")
        if rejected == GIVE_UP:
            say(f"After {len(known)} networks, hardly another one within the budget is new.")
        return self.candidates()

    def _known(self) -> dict[Architecture, float]:
        return {self.space.architecture(decisions): top1 for decisions, (top1, _) in self._scored()}

    def _scored(self) -> list[tuple[Decisions, list[float]]]:
        trials = self.study.get_trials(deepcopy=False, states=(self.states.COMPLETE,))
        return [(trial.params, trial.values) for trial in trials]

    def _values(self, decisions: Decisions, scorer: Scorer) -> tuple[float, float] | None:
        """Accuracy and cost; None if the network does not fit the budget."""
        macs, budget_ms = self.space.macs(decisions), self.options.budget_ms
        if macs > self.options.budget_macs:
            return None
        network = scorer.network(self.space.architecture(decisions))
        if budget_ms is None:
            return scorer.top1(network), macs
        seconds = _latency(network, self.space.image_size)
        return (scorer.top1(network), seconds) if 1000 * seconds <= budget_ms else None


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other beats, the cheapest first: each is better than all that cost less."""
    best: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: (one.cost, -one.top1)):
        if not best or candidate.top1 > best[-1].top1:
            best.append(candidate)
    return best


@torch.inference_mode()
def _latency(network: nn.Module, image_size: int) -> float:
    """Median seconds for one image."""
    device = next(network.parameters()).device
    image = torch.randn(1, 3, image_size, image_size, device=device)
    return measure({0: lambda: network(image).cpu()}, LATENCY_ROUNDS)[0].median
