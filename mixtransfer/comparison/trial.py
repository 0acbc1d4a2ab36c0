"""Short trainings of one classifier from the same start, judged on validation."""

import copy
from dataclasses import replace

import lightning as L
import numpy as np

from mixtransfer.backbones import create_backbone
from mixtransfer.classification.datamodule import ImageDataModule, batch_of
from mixtransfer.classification.defaults import resolve
from mixtransfer.classification.folds import class_weight, mirrors, set_head
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.recipe import Recipe
from mixtransfer.classification.selection import judge
from mixtransfer.classification.trainer import fit_aside, predict_examples
from mixtransfer.common.device import best_device
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.data.split_file import Split
from mixtransfer.runs.run_data import training_images


class Trial:
    """A network with its head fitted on frozen features, in one process.

    Args:
        options: Of a training, with its image size; what else is open is resolved.
        split: Its parts.

    Attributes:
        usual: The learning rate that the training would have.
        epochs: Its epochs.

    Raises:
        UserError: An option or the data cannot be used.
    """

    def __init__(self, options, split: Split):
        self.dataset = dataset = training_images(options, split=split)
        L.seed_everything(options.seed, verbose=False)
        model = create_backbone(
            options.backbone,
            options.weights,
            num_classes=len(dataset.classes),
            image_size=options.image_size,
            drop_rate=options.dropout,
        )
        options = resolve(replace(options, batch_size=batch_of(options), devices=1, num_nodes=1), dataset, model)
        self.options, self.usual, self.epochs = options, float(options.lr), options.epochs
        self.preprocessing = Preprocessing.of(model, options.image_size)
        self.data = ImageDataModule.of(dataset, self.preprocessing, options)
        self.module = ImageClassifier(model, self.preprocessing, Recipe.of(options), class_weight(options, dataset))
        if options.fit_head:
            device = best_device()
            set_head(self.module, self.data, device, mirrors(options))
        self.start = copy.deepcopy(self.module.model.state_dict())

    def losses(self, lr: float, epochs: int) -> np.ndarray:
        """Log loss of each validation image, at the temperature that is best for all, after a training from the start.

        Raises:
            UserError: The training diverged.
        """
        module, options = self.module, self.options
        L.seed_everything(options.seed, verbose=False)
        module.model.load_state_dict(self.start)
        warmup = min(options.warmup_epochs, epochs / 2)
        trainer = fit_aside(module, self.data, replace(options, lr=lr, epochs=epochs, warmup_epochs=warmup))
        predictions = predict_examples(trainer, module, self.data, self.dataset.val)
        return judge(predictions, module.class_weights).losses
