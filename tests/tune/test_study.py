"""Which settings are tried, ended early and chosen, with a formula in the trainings' place."""

import math

import numpy as np
import pytest
from filelock import FileLock

pytest.importorskip("optuna", reason="optuna is not installed: pip install 'mixtransfer[search]'")

from mixtransfer.classification.options import TrainOptions  # noqa: E402
from mixtransfer.data.split_file import Split  # noqa: E402
from mixtransfer.errors import UserError  # noqa: E402
from mixtransfer.tune.options import TuneOptions  # noqa: E402
from mixtransfer.tune.results import choose, in_words  # noqa: E402
from mixtransfer.tune.space import distributions, settings_of  # noqa: E402
from mixtransfer.tune.study import Study, Tried, folds_of  # noqa: E402

RESOLVED = TrainOptions(data="x", lr=2e-3, layer_decay=0.8, mixup=0.0, cutmix=0.0, image_size=224, batch_norm="frozen")
NAMES = [f"{label}/{i}.jpg" for label in "ab" for i in range(12)]
SPLIT = Split(
    NAMES, [name[0] for name in NAMES], ["test" if "/1.jpg" in name else "train" for name in NAMES], [""] * 24
)


class Formula(Study):
    """The best learning rate is four times the default."""

    def __init__(self, folder, best=8e-3, **options):
        self.best, self.trained = best, []
        tuning = TuneOptions(data="x", **options)
        (folder / "trials").mkdir(exist_ok=True)
        super().__init__(folder, tuning, RESOLVED, folds_of(SPLIT, tuning.folds, 0), lambda text: None)

    def default(self):
        space = distributions(RESOLVED, True)
        self.distributions = space
        losses = [self._train(RESOLVED, "default", fold) for fold in range(self.options.folds)]
        return Tried(settings_of(RESOLVED, space), tuple(losses))

    def default_settings(self):
        return settings_of(RESOLVED, self.distributions)

    def _train(self, options, name, fold):
        self.trained.append((name, fold))
        return 0.5 + math.log(options.lr / self.best) ** 2 / 10 + 0.01 * fold


def test_it_finds_better_settings_than_the_defaults(tmp_path):
    study = Formula(tmp_path, trials=30)
    study.run()
    best = choose(study.default(), study.tried())
    assert abs(math.log(best.settings["lr"] / 8e-3)) < 0.5 and best.loss < study.default().loss - 0.1
    assert max(study.importance(), key=study.importance().get) == "lr"


def test_the_first_trial_is_the_defaults(tmp_path):
    study = Formula(tmp_path, trials=1)
    study.run()
    (only,) = study.tried()
    assert only == study.default() and {name for name, _ in study.trained} == {"default"}


def test_bad_trials_end_after_their_first_folds(tmp_path):
    study = Formula(tmp_path, trials=25, folds=4)
    study.run()
    assert len(study.finished()) == 25 and 0 < len(study.tried()) < 25
    names = [name for name, _ in study.trained if name != "default"]
    assert {names.count(name) for name in names} & {1, 2, 3} and max(names.count(name) for name in names) == 4
    # What was ended early was worse than half of those before it that were tried on all folds.
    before = []
    for trial in study.finished():
        loss = 0.5 + math.log(trial.params["lr"] / 8e-3) ** 2 / 10
        if "losses" in trial.user_attrs:
            before.append(loss)
        else:
            assert len(before) >= 4 and loss > np.median(before)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_losses_that_are_no_numbers_end_it(tmp_path, loss):
    study = Formula(tmp_path, trials=3)
    real = study._train
    study._train = lambda options, name, fold: real(options, name, fold) if name == "default" else loss
    with pytest.raises(UserError, match="Most trials fail, the last one so: the log loss is no number"):
        study.run()


def test_killed_trials_are_no_failures(tmp_path):
    for _ in range(5):
        study = Formula(tmp_path, trials=4)
        study.default()
        study.study.ask(study.distributions)  # and its process ends
    study = Formula(tmp_path, trials=4)
    real, failures = study._train, []

    def fail_once(options, name, fold):
        if name != "default" and not failures:
            failures.append(name)
            raise UserError("once")
        return real(options, name, fold)

    study._train = fail_once
    study.run()
    assert len(study.finished()) == 4


def test_trials_of_other_images_are_not_joined(tmp_path):
    Formula(tmp_path, trials=2, storage=f"sqlite:///{tmp_path / 'x.db'}").run()
    with pytest.raises(UserError, match="of other images or options: choose another --output"):
        Formula(tmp_path, trials=2, folds=2, storage=f"sqlite:///{tmp_path / 'x.db'}")


def test_two_processes_do_not_try_the_same(tmp_path):
    """Both begin before either has a trial."""
    one, other = Formula(tmp_path, trials=6), Formula(tmp_path, trials=11)
    with FileLock(tmp_path / "trials" / ".seeded.lock"):  # of the other one
        one.run()
    other.run()
    rates = [trial.params["lr"] for trial in other.finished()]
    assert len(rates) == len(set(rates)) == 11


def test_the_time_ends_the_trials(tmp_path):
    study = Formula(tmp_path, trials=1000, minutes=1e-9)
    study.run()
    assert not study.finished()


def test_a_trial_whose_process_has_ended_is_tried_again(tmp_path):
    first = Formula(tmp_path, trials=3)
    first.run()
    lost = first.study.ask(first.distributions)  # and its process ends
    again = Formula(tmp_path, trials=4)
    again.run()
    states = [trial.state.name for trial in again.study.get_trials()]
    assert "RUNNING" not in states and again.study.get_trials()[lost.number].state.name == "FAIL"
    assert again.study.get_trials()[-1].params == lost.params


def test_a_trial_of_a_living_process_is_left_to_it(tmp_path):
    first = Formula(tmp_path, trials=2)
    first.run()
    trial = first.study.ask(first.distributions)
    with first._claim(trial.number):
        Formula(tmp_path, trials=3).run()
        assert first.study.get_trials()[trial.number].state.name == "RUNNING"


@pytest.mark.parametrize(
    ("losses", "taken"),
    [
        ((0.90, 0.80, 1.00), True),  # better on each
        ((0.70, 1.02, 1.18), False),  # better on the average, by one fold alone
        ((1.00, 0.90, 1.10), False),  # alike
        ((1.20, 1.00, 1.30), False),
    ],
)
def test_the_defaults_stay_unless_the_folds_agree(losses, taken):
    default, other = Tried({"lr": 1}, (1.0, 0.9, 1.1)), Tried({"lr": 2}, losses)
    assert (choose(default, [other]) is other) == taken


def test_every_default_is_among_what_is_tried():
    odd = TrainOptions(lr=0.0123, layer_decay=0.77, mixup=0.3, image_size=100, augment="crop", label_smoothing=0.05,
                       weight_decay=0.5, min_crop=0.5, batch_norm="train")  # fmt: skip
    for options in (RESOLVED, odd):
        for name, space in distributions(options, True).items():
            value = getattr(options, name)
            assert value in space.choices if hasattr(space, "choices") else space.low <= value <= space.high
    assert "image_size" not in distributions(RESOLVED, False)
    assert {*distributions(odd, True)["augment"].choices} == {"none", "crop"}  # writing is not mirrored


def test_folds_hold_each_image_once_and_none_to_test_on():
    splits = folds_of(SPLIT, 3, 0)
    tested = [name for split in splits for name, part in zip(split.names, split.parts, strict=True) if part == "test"]
    assert sorted(tested) == sorted(name for name in NAMES if "/1.jpg" not in name)
    assert all({"train", "val", "test"} == {*split.parts} for split in splits)


@pytest.mark.parametrize(
    ("low", "high", "says"), [(0.01, 0.05, "better."), (-0.05, -0.01, "worse."), (-0.01, 0.02, "not to be told apart")]
)
def test_what_the_test_says_is_put_in_words(low, high, says):
    difference = {"value": (low + high) / 2, "low": low, "high": high}
    found = {"tried": 3, "gain": {"value": 0.1, "error": 0.01}, "test": {"images": 100, "difference": difference}}
    assert says in in_words(found)
    assert "the defaults stay" in in_words({**found, "test": None})


def test_gain_is_paired():
    default, other = Tried({}, (1.0, 2.0, 3.0)), Tried({}, (0.9, 1.8, 2.7))
    gain, error = other.gain(default)
    assert gain == pytest.approx(0.2) and error == pytest.approx(np.std([0.1, 0.2, 0.3], ddof=1) / 3**0.5)
