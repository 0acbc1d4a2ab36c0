"""What each option does to the steps of a real training: rates, clipping, averaging, mixing and weights."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from folders import make_folder
from tiny import tiny
from torch.optim.optimizer import register_optimizer_step_post_hook

from mixtransfer.backbones import create_backbone
from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.train import train
from mixtransfer.classification.trainer import make_trainer
from mixtransfer.classification.tuning import _rates_by_layer
from mixtransfer.data.load import load_dataset
from mixtransfer.data.preprocessing import Preprocessing

COUNTS = {"cat": 24, "dog": 6, "emu": 10}
STEPS = 15  # 3 epochs of 40 images, 8 a step
STEM = (16, 3, 3, 3)  # the shape of the first layer's weight, which no other has


@dataclass
class Steps:
    """What was seen of each step: the rate of each shape of weights, the gradient's norm, weights and batches."""

    rates: list[list[tuple[tuple[int, ...], float]]] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    stems: list[torch.Tensor] = field(default_factory=list)
    batches: list[tuple[torch.Tensor, ...]] = field(default_factory=list)  # images, inputs, logits, labels, loss

    def see(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.rates.append([(tuple(p.shape), g["lr"]) for g in optimizer.param_groups for p in g["params"]])
        self.norms.append(float(torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in parameters]))))
        self.stems += [p.detach().clone() for p in parameters if tuple(p.shape) == STEM]


@pytest.fixture
def steps(monkeypatch) -> Iterator[Steps]:
    seen = Steps()
    training_step = ImageClassifier.training_step

    def see_batch(module, batch, index):
        passed = []
        hook = module.model.register_forward_hook(lambda _, inputs, logits: passed.append((inputs[0], logits)))
        loss = training_step(module, batch, index)
        hook.remove()
        images, labels = batch
        with torch.no_grad():
            (inputs, logits), images = passed[-1], module.normalize(images)
        seen.batches.append((images, inputs.detach(), logits.detach(), labels, loss.detach()))
        return loss

    monkeypatch.setattr(ImageClassifier, "training_step", see_batch)
    handle = register_optimizer_step_post_hook(seen.see)
    yield seen
    handle.remove()


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Three classes of different frequency, in parts."""
    root = tmp_path_factory.mktemp("uneven") / "set"
    make_folder(root / "train", COUNTS)
    make_folder(root / "val", dict.fromkeys(COUNTS, 3), seed=1)
    make_folder(root / "test", dict.fromkeys(COUNTS, 3), seed=2)
    return root


def test_the_rate_rises_and_then_falls_along_a_cosine(uneven, tmp_path, steps):
    train(tiny(uneven, tmp_path / "r", lr=0.004, warmup_epochs=1.0))
    cosine = [0.002 * (1 + math.cos(math.pi * step / STEPS)) for step in range(STEPS)]
    rise = [min(1.0, (step + 1) / 6) for step in range(STEPS)]  # over the first epoch's 5 steps
    expected = [a * b for a, b in zip(rise, cosine, strict=True)]
    assert [max(rate for _, rate in rates) for rates in steps.rates] == pytest.approx(expected)


def test_layers_far_from_the_head_learn_more_slowly(uneven, tmp_path, steps):
    train(tiny(uneven, tmp_path / "r", layer_decay=0.5, epochs=1))
    for rates in steps.rates:
        head, stem = dict(rates)[(3, 1024)], dict(rates)[STEM]
        shares = sorted({round(rate / head, 12) for _, rate in rates}, reverse=True)
        assert len(shares) > 5 and shares == pytest.approx([0.5**i for i in range(len(shares))])
        assert stem / head == pytest.approx(shares[-1])


def test_gradients_are_clipped_to_the_norm_that_was_asked_for(uneven, tmp_path, steps):
    train(tiny(uneven, tmp_path / "r", clip_grad=0.01, epochs=1))
    clipped, steps.norms = steps.norms, []
    train(tiny(uneven, tmp_path / "s", clip_grad=0.0, epochs=1))
    assert clipped == pytest.approx([0.01] * 5, rel=1e-3)
    assert min(steps.norms) > 0.02


def test_the_average_of_the_weights_is_kept_or_the_last_of_them(uneven, tmp_path, steps):
    """An exponential one over 0.15 of the steps, and at first over half of the updates so far."""
    averaged = train(tiny(uneven, tmp_path / "r"))
    average = steps.stems[0]
    for updates, stem in enumerate(steps.stems[1:], 1):
        decay = min(1 - 1 / (0.15 * STEPS), updates / (updates + 2))
        average = decay * average + (1 - decay) * stem
    kept = safetensors.torch.load_file(averaged.weights)["conv_stem.weight"]
    torch.testing.assert_close(kept, average, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(kept, steps.stems[-1], atol=1e-5)
    last = train(tiny(uneven, tmp_path / "s", ema=False))
    assert torch.equal(safetensors.torch.load_file(last.weights)["conv_stem.weight"], steps.stems[-1])


def test_rare_classes_weigh_more_in_the_loss(uneven, tmp_path, steps):
    """Balanced: each class's weight is the number of images over that of classes times its own."""
    train(tiny(uneven, tmp_path / "r", class_weights="balanced", epochs=1))
    weight = torch.tensor([40 / (3 * count) for count in COUNTS.values()])
    for _, _, logits, labels, loss in steps.batches:
        losses = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
        torch.testing.assert_close(loss, (weight[labels] * losses).mean())


def test_mixed_images_are_learnt_with_mixed_labels(uneven, tmp_path, steps):
    """Mixup adds up each image and its neighbour in the batch, and the losses of their labels in the same shares."""
    train(tiny(uneven, tmp_path / "r", mixup=1.0, epochs=1))
    shares = []
    for images, inputs, logits, labels, loss in steps.batches:
        other = images.roll(1, 0)
        share = ((inputs - other) * (images - other)).sum() / (images - other).square().sum()
        torch.testing.assert_close(inputs, share * images + (1 - share) * other, atol=1e-4, rtol=1e-4)
        own, others = (F.cross_entropy(logits, target, label_smoothing=0.1) for target in (labels, labels.roll(1, 0)))
        torch.testing.assert_close(loss, share * own + (1 - share) * others, atol=1e-4, rtol=1e-4)
        shares.append(float(share))
    assert any(0.1 < share < 0.9 for share in shares)


def test_images_are_not_mixed_unless_asked(uneven, tmp_path, steps):
    train(tiny(uneven, tmp_path / "r", mixup=0.0, cutmix=0.0, epochs=1))
    assert all(torch.equal(images, inputs) for images, inputs, *_ in steps.batches)


def test_the_search_for_a_rate_moves_each_layer_at_its_share(uneven, tmp_path, steps):
    """60 steps from small rates to large ones, then the training at the one that is suggested."""
    said: list[str] = []
    run = train(tiny(uneven, tmp_path / "r", lr="find", layer_decay=0.5, epochs=1), said.append)
    assert any("by a range test of 60 steps; the training has 5 only" in sentence for sentence in said), said
    searched, trained = steps.rates[:-5], steps.rates[-5:]
    heads = [dict(rates)[(3, 1024)] for rates in searched]
    assert len(heads) >= 20 and heads == sorted(heads) and heads[-1] > 100 * heads[0]
    for rates in steps.rates:
        head, stem = dict(rates)[(3, 1024)], dict(rates)[STEM]
        assert stem / head == pytest.approx(0.5 ** (len({rate for _, rate in trained[0]}) - 1))
    assert max(dict(rates)[(3, 1024)] for rates in trained) <= run.read_config()["lr"] <= heads[-1]


def test_an_evaluation_whose_results_nobody_took_is_forgotten(uneven):
    """Lightning's tuner validates where no callback of ours is there."""
    dataset = load_dataset(str(uneven))
    model = create_backbone("mobilenetv3_small_050", "none", num_classes=3)
    data = ImageDataModule(dataset, Preprocessing.of(model, 32), None, workers=0)
    module, trainer = ImageClassifier(model, data.preprocessing), make_trainer(tiny("", ""), enable_checkpointing=False)
    data.tested = dataset.test
    for _ in range(2):
        trainer.test(module, data, verbose=False)
    assert len(module.take_predictions().labels) == len(dataset.test)


def test_the_range_test_leaves_other_optimizers_alone():
    """Of another thread, say: the hook by which it keeps the layers' shares is the process's."""
    module, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    own = torch.optim.SGD([{"params": list(module.parameters()), "lr_scale": 0.5}], lr=1.0)
    foreign = torch.optim.SGD([{"params": list(other.parameters()), "lr_scale": 0.5}], lr=1.0)
    plain = torch.optim.SGD(other.parameters(), lr=1.0)
    with _rates_by_layer(module):
        for optimizer in (own, foreign, plain):
            optimizer.step()
    assert [one.param_groups[0]["lr"] for one in (own, foreign, plain)] == [0.5, 1.0, 1.0]
