"""The search with a stub in the supernet's place."""

import numpy as np
import pytest
from torch import nn

pytest.importorskip("optuna", reason="optuna is not installed: pip install 'mixtransfer[search]'")

from mixtransfer.errors import UserError  # noqa: E402
from mixtransfer.search.options import SearchOptions  # noqa: E402
from mixtransfer.search.scoring import Score  # noqa: E402
from mixtransfer.search.space import Space, Stage  # noqa: E402
from mixtransfer.search.study import Candidate, Study, front  # noqa: E402

# Small, because what costs time here is the database.
STAGES = (Stage.of_blocks((8, 16), (1, 2), 2, "re"), Stage.of_blocks((16, 24), (2, 3), 2, "sw"))
SPACE = Space(8, STAGES, 64, 32, 5)
BUDGET = SPACE.typical_macs()


class Stub:
    """Likes wide expansions, and counts what it is asked."""

    def __init__(self):
        self.asked = []

    def network(self, architecture):
        self.asked.append(architecture)
        return nn.Conv2d(3, 1, 3)

    def score(self, network):
        loss = float(np.mean([block.expand == 3 for block in self.asked[-1]]))
        return Score(loss, 1 - loss, (loss, loss, loss), 0.1)


def quiet(_):
    pass


def test_it_finds_better_networks_than_chance(tmp_path):
    options = SearchOptions(budget_macs=BUDGET, trials=40, population=8)
    scorer = Stub()
    candidates = Study(tmp_path, options, SPACE).run(scorer, quiet)
    assert len(candidates) == len(scorer.asked) == len(set(scorer.asked)) == 40
    assert all(one.macs == one.cost <= BUDGET for one in candidates)
    early, late = (np.mean([one.score.loss for one in part]) for part in (candidates[:10], candidates[-10:]))
    assert late < early - 0.05


def test_it_goes_on_without_repeating_any(tmp_path):
    first, second = Stub(), Stub()
    options = SearchOptions(budget_macs=BUDGET, trials=6, population=3)
    Study(tmp_path, options, SPACE).run(first, quiet)
    options = SearchOptions(budget_macs=BUDGET, trials=9, population=3)
    assert len(Study(tmp_path, options, SPACE).run(second, quiet)) == 9
    assert len(second.asked) == 3 and not set(first.asked) & set(second.asked)


def test_two_processes_share_the_trials(tmp_path):
    options = SearchOptions(budget_macs=BUDGET, trials=4, population=3)
    mine, yours = Stub(), Stub()
    one, other = Study(tmp_path, options, SPACE), Study(tmp_path, options, SPACE, seeded=False)
    one.run(mine, quiet)
    assert len(other.run(yours, quiet)) == 4 and not yours.asked


def test_latency_can_be_the_cost(tmp_path):
    options = SearchOptions(budget_macs=BUDGET, budget_ms=1e4, trials=2, population=2)
    found = Study(tmp_path, options, SPACE, latency=lambda one: len([*one]) / 1000).run(Stub(), quiet)
    assert all(one.cost == len([*SPACE.architecture(one.decisions)]) / 1000 for one in found) and len(found) == 2


@pytest.mark.parametrize(
    ("budget", "most"), [({"budget_params": 9000.0}, 9000), ({"budget_mb": 0.04}, 10_000)], ids=["params", "file"]
)
def test_parameters_and_files_can_be_limited(tmp_path, budget, most):
    options = SearchOptions(budget_macs=10 * BUDGET, trials=5, population=3, **budget)
    found = Study(tmp_path, options, SPACE).run(Stub(), quiet)
    parameters = [SPACE.architecture(one.decisions).parameters(5) for one in found]
    assert len(found) == 5 and max(parameters) <= most


def test_half_of_the_later_networks_are_picked_by_a_predictor(tmp_path, monkeypatch):
    monkeypatch.setattr("mixtransfer.search.study.FEWEST", 6)
    options = SearchOptions(budget_macs=BUDGET, trials=20, population=20)  # NSGA-II itself still draws at random
    candidates = Study(tmp_path, options, SPACE).run(Stub(), quiet)
    picked = [one.score.loss for one in candidates[11::2]]
    assert np.mean(picked) < np.mean([one.score.loss for one in candidates[:10]]) - 0.1


def test_a_budget_that_few_networks_fit_is_used(tmp_path):
    """Of random networks hardly one would."""
    tight = 1.15 * SPACE.macs(SPACE.smallest)
    generator = np.random.default_rng(0)
    assert np.mean([SPACE.macs(SPACE.sample(generator)) <= tight for _ in range(200)]) < 0.05
    found = Study(tmp_path, SearchOptions(budget_macs=tight, trials=6, population=6), SPACE).run(Stub(), quiet)
    assert len(found) == 6 and all(one.macs <= tight for one in found)


def test_trials_of_another_supernet_are_not_joined(tmp_path):
    options = SearchOptions(budget_macs=BUDGET, trials=2, population=2)
    first = Study(tmp_path, options, SPACE)
    first.belong_to("a")
    first.belong_to("a")
    with pytest.raises(UserError, match="scored with another supernet's weights"):
        Study(tmp_path, options, SPACE).belong_to("b")


def test_a_search_of_an_older_version_is_refused(tmp_path):
    import optuna

    address = f"sqlite:///{tmp_path / 'trials.sqlite3'}"
    optuna.create_study(storage=address, study_name="search", directions=["maximize", "minimize"])
    with pytest.raises(UserError, match="holds a search of an older version: choose another --output"):
        Study(tmp_path, SearchOptions(budget_macs=BUDGET), SPACE)


def test_the_front_is_what_no_cheaper_one_beats():
    costs = [(0.5, 10), (0.4, 20), (0.45, 30), (0.3, 30), (0.3, 40), (0.6, 10)]
    candidates = [Candidate({}, Score(loss, 0, (0, 0, 0), 0.1), cost, cost) for loss, cost in costs]
    assert [(one.score.loss, one.cost) for one in front(candidates)] == [(0.5, 10), (0.4, 20), (0.3, 30)]
