"""`classify train`: from options to a Run."""

import contextlib
from collections.abc import Sequence
from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger

from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.processes import together
from mixtransfer.classification.results import write_results
from mixtransfer.classification.selection import HEAD
from mixtransfer.classification.stages import Choice, fit_head, judge_in_folds, known_score, select, test, tune
from mixtransfer.classification.trainer import is_first_process, processes
from mixtransfer.classification.training import Say, how_to_go_on, prepare, reopened, resumable
from mixtransfer.classification.tuning import find_batch_size, find_rate
from mixtransfer.classification.unlabelled import take_unlabelled
from mixtransfer.common.messages import silent, tell
from mixtransfer.data.split_file import Split
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run


def train(
    options: TrainOptions,
    say: Say = tell,
    split: Split | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    augment: Any = None,
) -> Run | None:
    """Fine-tune a backbone as ``options`` say and return the finished run; None in all processes but the first.

    Args:
        say: Where sentences for the user go; only the first of several processes speaks.
        split: The parts of a new training, if they are settled.
        callbacks, loggers: More of them, for Lightning's Trainer.
        augment: An object in the place of what the options say; see ``as_augment``.

    Raises:
        UserError: An option or the data cannot be used.
        Interrupted: Ctrl-C; what is needed to resume has been written.
    """
    main, run, asked = is_first_process(), None, options
    say = say if main else silent
    if options.data is None and not options.resume:
        raise UserError("Say what to train on: mixtransfer classify train DATA (a folder, a CSV file or a name).")
    with contextlib.ExitStack() as claims:
        if options.resume:
            run, options = reopened(options, main, claims)
            if "test" in run.read_metrics():
                say(f"{run.folder} is finished already.")
                return run if main else None
        if not main and processes(options) == 1:
            return None  # of those that a launcher has started the first trains
        training = prepare(run, options, main, say, claims, split, callbacks, loggers, augment)
        given = asked, silent, split, callbacks, [DummyLogger() for _ in loggers], augment
        with resumable(training.run), together(training.trainer, train, *given, go_on=how_to_go_on(training.run)):
            if not training.earlier and training.options.batch_size == "auto":
                find_batch_size(training)
            head = fit_head(training)
            if not training.earlier and training.options.lr == "find" and training.options.epochs:
                find_rate(training)
            take_unlabelled(training, head, asked)
            choice = judge_in_folds(training, head)
            if not training.options.epochs:
                choice = choice or Choice(HEAD, 1.0)
            elif choice is None or choice.share != HEAD:
                tune(training)
            if callbacks and choice and choice.share == HEAD:
                say("The head is kept and nothing is fine-tuned: of the callbacks none is called in a training.")
            selected = select(training, choice)
            tested = test(training, selected)
            write_results(training, selected, tested, known_score(training, selected, head))
        return training.run
