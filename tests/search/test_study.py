"""The search with a stub in the supernet's place."""

import numpy as np
import pytest
from torch import nn

pytest.importorskip("optuna", reason="optuna is not installed: pip install 'mixtransfer[search]'")

from mixtransfer.search.options import SearchOptions  # noqa: E402
from mixtransfer.search.space import Space, Stage  # noqa: E402
from mixtransfer.search.study import Candidate, Study, front  # noqa: E402

# Small, because what costs time here is the database.
SPACE = Space(8, (Stage((8, 16), (1, 2), 2, "re"), Stage((16, 24), (2, 3), 2, "sw")), 64, 32, 5)
BUDGET = SPACE.typical_macs()


class Stub:
    """Likes wide expansions, and counts what it is asked."""

    def __init__(self):
        self.asked = []

    def network(self, architecture):
        self.asked.append(architecture)
        return nn.Conv2d(3, 1, 3)

    def top1(self, network):
        return float(np.mean([block.expand == 6 for block in self.asked[-1]]))


def quiet(_):
    pass


def test_it_finds_better_networks_than_chance(tmp_path):
    options = SearchOptions(budget_macs=BUDGET, trials=40, population=8)
    scorer = Stub()
    candidates = Study(tmp_path, options, SPACE).run(scorer, quiet)
    assert len(candidates) == len(scorer.asked) == len(set(scorer.asked)) == 40
    assert all(one.macs == one.cost <= BUDGET for one in candidates)
    early, late = (np.mean([one.top1 for one in part]) for part in (candidates[:10], candidates[-10:]))
    assert late > early + 0.05


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
    found = Study(tmp_path, options, SPACE).run(Stub(), quiet)
    assert all(0 < one.cost < 10 and one.macs <= BUDGET for one in found)


def test_a_search_that_nothing_fits_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("mixtransfer.search.study.GIVE_UP", 3)
    said = []
    options = SearchOptions(budget_macs=BUDGET, budget_ms=1e-9, trials=2, population=2)
    assert Study(tmp_path, options, SPACE).run(Stub(), said.append) == []
    assert "hardly another one" in said[0]


def test_the_front_is_what_no_cheaper_one_beats():
    costs = [(0.5, 10), (0.6, 20), (0.55, 30), (0.7, 30), (0.7, 40), (0.4, 10)]
    candidates = [Candidate({}, top1, cost, cost) for top1, cost in costs]
    assert [(one.top1, one.cost) for one in front(candidates)] == [(0.5, 10), (0.6, 20), (0.7, 30)]
