"""Training the elastic network: a classifier like others, but for the networks that each batch goes through."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors import SafetensorError

from mixtransfer.backbones.registry import architecture_spec
from mixtransfer.classification.callbacks import History
from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.classification.loss import training_losses
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.recipe import Recipe
from mixtransfer.classification.trainer import make_trainer
from mixtransfer.errors import UserError
from mixtransfer.runs.checkpoint import load_checkpoint
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import NOT_RECORDED, Run
from mixtransfer.search.elastic import ElasticNetwork
from mixtransfer.search.options import SearchOptions
from mixtransfer.search.space import Decisions

Say = Callable[[str], None]

RANDOM = 2  # networks of a step beside the largest and the smallest
WARMUP = 0.05  # share of the epochs
WEIGHT_DECAY = 0.02


class ElasticClassifier(ImageClassifier):
    """Trains a space's largest network by the labels, and by these and its answers the smallest and some others.

    That is the sandwich rule with in-place distillation (Yu & Huang, "Universally slimmable networks", ICCV 2019;
    Yu et al., "BigNAS", ECCV 2020), but that the others see the labels too, as with any teacher here: after 400 steps
    on 3,975 images of CIFAR-10, 30 random networks had 27.2 % right on the average with both, 22.6 % without labels
    (chance 10 %; one seed).
    """

    model: ElasticNetwork
    samples: Iterator[Decisions]

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        # As there, what is drawn must not depend on whether the training was interrupted before this epoch.
        self.samples = self.model.space.fair_samples(np.random.default_rng((self.recipe.seed, self.current_epoch)))

    def _answer(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        inputs = self._input(images)
        logits, space = self.model(inputs), self.model.space
        losses = [training_losses(logits, labels, self.recipe, self.class_weight)]
        for decisions in (space.smallest, *(next(self.samples) for _ in range(RANDOM))):
            answers = self.model(inputs, space.architecture(decisions))
            losses.append(training_losses(answers, labels, self.recipe, self.class_weight, logits.detach()))
        return torch.stack(losses).mean(), logits, labels


def train_elastic(network: ElasticNetwork, data: ImageDataModule, options: SearchOptions, run: Run, say: Say) -> None:
    """Train an elastic network in the folder of a run, whose ``last.ckpt`` goes on after an interrupt.

    Raises:
        UserError: The training diverged.
        KeyboardInterrupt, SystemExit: Ctrl-C; the same call goes on.
    """
    recorded = TrainOptions(
        data=options.data, backbone=network.largest.name, weights=NOT_RECORDED, output=str(run.folder),
        data_root=options.data_root,
        epochs=options.epochs, batch_size=options.batch_size, image_size=options.image_size, lr=options.lr,
        weight_decay=WEIGHT_DECAY, layer_decay=1.0, warmup_epochs=WARMUP * options.epochs, fit_head=False,
        batch_norm="train", augment=options.augment, mixup=0.0, cutmix=0.0, val_fraction=options.val_fraction,
        test_fraction=options.test_fraction, split_seed=options.split_seed, seed=options.seed, workers=options.workers,
        precision=options.precision, devices=1,
    )  # fmt: skip
    run.folder.mkdir(exist_ok=True)
    run.write_config(recorded)
    data.dataset.split().write(run.split)
    assert data.preprocessing
    spec = architecture_spec(network.largest)
    ModelCard.of("classification", spec, data.dataset.classes, data.preprocessing.to_dict()).write(run.model)
    module = ElasticClassifier(network, data.preprocessing, Recipe.of(recorded))
    history = History(run, len(data.dataset.train), say)
    keep = ModelCheckpoint(run.folder, filename=run.checkpoint.stem, enable_version_counter=False)
    callbacks = [keep, history, *module.recipe.callbacks()]
    trainer = make_trainer(recorded, callbacks, max_epochs=options.epochs)
    kept = load_checkpoint(run.checkpoint) if run.checkpoint.exists() else None
    if kept and kept["epoch"] + 1 >= options.epochs:
        module.load_state_dict(kept["state_dict"])  # the average, of a training that was at its end
    else:
        trainer.fit(module, data, ckpt_path=str(run.checkpoint) if kept else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not all(weight.isfinite().all() for weight in network.parameters()):
        raise UserError(
            "The supernet diverged, its weights are no numbers any more: take a lower --lr, and another --output."
        )


def load_elastic(network: ElasticNetwork, weights: Path) -> None:
    """Load the weights of an elastic network, which ``model_bytes`` wrote.

    Raises:
        UserError: They are damaged, or of another space.
    """
    try:
        network.load_state_dict(safetensors.torch.load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{weights} is damaged or of another search: remove it to train the supernet anew.") from error
