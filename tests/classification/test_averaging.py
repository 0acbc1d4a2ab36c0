"""The moving average as a callback: where it lies, and who sees it."""

import lightning as L
import pytest
import torch
from folders import make_folder
from lightning.pytorch.callbacks import Callback

import mixtransfer as mt
from mixtransfer.classification.averaging import WeightAverage


class Seen(Callback):
    """The sums of the weights that a callback sees in each hook of validation."""

    def __init__(self):
        self.sums = []

    def _look(self, trainer, module):
        self.sums.append(float(sum(p.double().sum() for p in module.model.parameters())))

    on_validation_epoch_start = on_validation_epoch_end = _look


def fitted(data, seen_first: bool) -> tuple[Seen, L.Trainer, L.LightningModule]:
    L.seed_everything(0)
    model = mt.create_backbone("mobilenetv3_small_050", "none", num_classes=2)
    loaders = mt.ImageDataModule(str(data), mt.Preprocessing.of(model, 32), batch_size=4, workers=0)
    module = mt.ImageClassifier(model, loaders.preprocessing, mt.Recipe(lr=1e-2, batch_norm="train"))
    seen, average = Seen(), WeightAverage()
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        num_sanity_val_steps=0, callbacks=[seen, average] if seen_first else [average, seen],
    )  # fmt: skip
    trainer.fit(module, loaders)
    return seen, trainer, module


def test_callbacks_see_the_average_wherever_they_stand(tmp_path):
    """It is what is validated and, in the end, kept: not the weights of the last step."""
    data = make_folder(tmp_path / "d", {"a": 12, "b": 12}, size=32)
    (first, _, one), (last, _, other) = fitted(data, True), fitted(data, False)
    assert len(first.sums) == 4 and first.sums == last.sums
    assert first.sums[0] == first.sums[1] != first.sums[2] == first.sums[3]
    kept = float(sum(p.double().sum() for p in one.model.parameters()))
    assert kept == pytest.approx(first.sums[-1], abs=1e-9)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_average_lies_where_the_network_lies():
    """Callbacks are set up before the network moves to its device; "meta" stands for a GPU."""

    class Trainer:
        estimated_stepping_batches = 100

    model = mt.create_backbone("mobilenetv3_small_050", "none", num_classes=2)
    module, average = mt.ImageClassifier(model), WeightAverage()
    average.setup(Trainer(), module, "fit")
    assert {p.device.type for p in average._average_model.module.parameters()} == {"cpu"}
    module.to("meta")
    average.on_fit_start(Trainer(), module)
    assert {p.device.type for p in average._average_model.module.parameters()} == {"meta"}
    assert average._average_model.window == 15 and average._average_model.n_averaged.device.type == "cpu"
