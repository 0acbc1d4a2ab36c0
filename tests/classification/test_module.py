"""What a training step does: the loss, against its optimum in closed form."""

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mixtransfer.backbones import create_backbone
from mixtransfer.classification.module import ImageClassifier
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.recipe import Recipe
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.runs.schedule import cosine

PLAIN = Preprocessing(size=1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Constant(nn.Module):
    """The same logits whatever the image is."""

    def __init__(self, classes: int):
        super().__init__()
        self.num_classes = classes
        self.logits = nn.Parameter(torch.zeros(classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1)


class Pixels(nn.Linear):
    """A linear classifier of images of one pixel, which keeps what it has seen."""

    def __init__(self, classes: int):
        super().__init__(3, classes)
        self.num_classes = classes
        self.seen: torch.Tensor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = images
        return super().forward(images.mean(dim=(2, 3)))


def classifier(model: nn.Module, class_weight=None, **options) -> ImageClassifier:
    return ImageClassifier(model, PLAIN, Recipe(**{"lr": 1e-3, "layer_decay": 1.0, **options}), class_weight)


def minimize(module: ImageClassifier, images: torch.Tensor, labels: torch.Tensor, batches: int = 1) -> None:
    """Bring the mean loss over batches to its minimum."""
    parts = [(images[i::batches], labels[i::batches]) for i in range(batches)]
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = sum(module.loss(*part) for part in parts) / batches
        value.backward()
        return value

    optimizer.step(loss)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("batches", [1, 20])
def test_class_weights_weigh_images_whatever_the_smoothing_and_the_batches(smoothing, batches):
    """Of one image with labels of frequency p the loss is least at q = (1 − ε) w·p / Σ w·p + ε / K."""
    counts, weight = np.array([30, 8, 2]), np.array([0.4, 2.0, 5.0])
    labels = torch.from_numpy(np.random.default_rng(0).permutation(np.repeat([0, 1, 2], counts)))
    model = Constant(3)
    module = classifier(model, weight, label_smoothing=smoothing)
    minimize(module, torch.zeros(40, 3, 1, 1, dtype=torch.uint8), labels, batches)
    expected = (1 - smoothing) * weight * counts / (weight * counts).sum() + smoothing / 3
    np.testing.assert_allclose(model.logits.detach().softmax(0).numpy(), expected, atol=1e-3)


def test_the_weight_of_a_mixed_image_is_mixed_like_its_label():
    """Images of two mixed labels r and s: q = (1 − ε) (w·r) r + (w·s) s, as shares, + ε / K."""
    weight, mixed = np.array([0.4, 2.0, 5.0]), np.array([[0.7, 0.3, 0.0], [0.1, 0.0, 0.9]])
    model = Constant(3)
    module = classifier(model, weight, label_smoothing=0.1)
    minimize(module, torch.zeros(2, 3, 1, 1, dtype=torch.uint8), torch.tensor(mixed, dtype=torch.float32))
    shares = (mixed @ weight) @ mixed
    np.testing.assert_allclose(model.logits.detach().softmax(0), 0.9 * shares / shares.sum() + 0.1 / 3, atol=1e-3)


def test_balanced_weights_do_not_teach_that_frequent_classes_are_wrong():
    """400 images of one colour and 12 of another that overlaps it, with the default smoothing."""
    generator = np.random.default_rng(0)

    def images(counts) -> tuple[torch.Tensor, torch.Tensor]:
        labels = np.repeat([0, 1], counts)
        pixels = 110 + 30 * labels[:, None] + generator.normal(0, 15, (len(labels), 3))
        return torch.tensor(pixels[:, :, None, None].clip(0, 255), dtype=torch.uint8), torch.from_numpy(labels)

    seen, unseen = images([400, 12]), images([200, 200])
    module = classifier(Pixels(2), 412 / (2 * np.array([400, 12])))
    minimize(module, *seen)
    right = (module(unseen[0]).argmax(dim=1) == unseen[1]).float()
    assert right[:200].mean() > 0.9 and right[200:].mean() > 0.9


@pytest.mark.parametrize(("batch_norm", "moves"), [("frozen", False), ("train", True)])
def test_batch_norm_is_frozen_or_follows_the_batches(batch_norm, moves):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    model.num_classes = 2
    module = classifier(model, batch_norm=batch_norm).train()
    assert model[3].training and model[0].training is moves
    module.loss(torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8), torch.tensor([0, 1, 0, 1])).backward()
    assert bool((model[0].running_mean != 0).any()) is moves
    assert not module.eval().model[0].training


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_optimizer_is_what_the_recipe_says(name):
    """Nesterov's momentum of 0.9, or AdamW; no decay of biases and norms; each layer at its share of the rate."""
    model = create_backbone("mobilenetv3_small_050", "none", num_classes=2)
    recipe = Recipe(lr=0.1, optimizer=name, weight_decay=0.03, layer_decay=0.5)
    optimizer = recipe.optimizer_for(model)
    if name == "sgd":
        assert isinstance(optimizer, torch.optim.SGD)
        assert optimizer.defaults["momentum"] == 0.9 and optimizer.defaults["nesterov"]
    else:
        assert isinstance(optimizer, torch.optim.AdamW)
    assert all(group["weight_decay"] == (0.03 if p.ndim > 1 else 0.0) for group in optimizer.param_groups
               for p in group["params"])  # fmt: skip
    assert optimizer.defaults["fused"]  # on the CPU, where the default is slow
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert all(group["lr"] == 0.1 * group["lr_scale"] for group in optimizer.param_groups)
    assert rates[id(model.classifier.weight)] == rates[id(model.classifier.bias)] == 0.1
    assert rates[id(model.conv_stem.weight)] == min(rates.values()) < 0.1 * 0.5**3


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
def test_what_mixes_images(mixup, cutmix):
    mix = Recipe(mixup=mixup, cutmix=cutmix).mixing(3)
    ways = [] if mix is None else [(type(way).__name__, way.alpha) for way in mix.transforms]
    assert ways == [(name, alpha) for name, alpha in (("MixUp", mixup), ("CutMix", cutmix)) if alpha]


def test_the_rate_rises_over_the_warmup_and_falls_to_nothing():
    """Loshchilov & Hutter's half cosine over all steps, times a linear rise."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 2.0)
    schedule = cosine(optimizer, 20, 4)
    rates = []
    for _ in range(21):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    steps = np.arange(21)
    expected = 2.0 * np.minimum(1, (steps + 1) / 5) * 0.5 * (1 + np.cos(np.pi * steps / 20))
    np.testing.assert_allclose(rates, expected, atol=1e-12)
    assert cosine(optimizer, np.inf, 0).get_last_lr() == [2.0]


def test_options_settle_a_recipe():
    options = TrainOptions(lr=3e-4, optimizer="sgd", layer_decay=0.7, batch_norm="train", mixup=0.2, cutmix=0.0, seed=5)
    assert Recipe.of(options) == Recipe(
        lr=3e-4, optimizer="sgd", layer_decay=0.7, batch_norm="train", mixup=0.2, cutmix=0.0, seed=5
    )
    assert Recipe.of(TrainOptions(lr="find", layer_decay=0.7, batch_norm="train")).lr == Recipe().lr


def test_a_module_says_what_it_wants_to_see_and_answers_in_shares():
    model = create_backbone("mobilenetv3_small_050", "none", num_classes=3)
    module = ImageClassifier(model).eval()
    assert module.preprocessing == Preprocessing.of(model) and module.recipe == Recipe()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        shares = module.predict_step((images, torch.zeros(2)), 0)
        assert torch.equal(shares, module.predict_step(images, 0))
        torch.testing.assert_close(shares, module(images).softmax(1))
    module.lr = 0.5
    assert module.recipe == Recipe(lr=0.5)


@pytest.mark.parametrize(("own", "limit"), [(None, 1.0), (0.25, 0.25)])
def test_the_gradient_is_clipped_by_the_recipe_unless_the_trainer_says_otherwise(own, limit):
    clipped = []
    module = classifier(Constant(2))
    module.clip_gradients = lambda optimizer, value, algorithm: clipped.append(value)
    module.configure_gradient_clipping(None, own, None)
    assert clipped == [limit]
    module.recipe = Recipe(clip_grad=0.0)
    module.configure_gradient_clipping(None, None, None)
    assert clipped == [limit]


@pytest.mark.parametrize(
    "wrong", [{"optimizer": "rmsprop"}, {"batch_norm": "auto"}, {"lr": 0.0}, {"lr": -1.0}, {"layer_decay": 1.5}]
)
def test_a_recipe_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_a_rate_may_be_a_whole_number():
    assert Recipe.of(TrainOptions(lr=1, layer_decay=1.0, batch_norm="train")).lr == 1


class Plain(L.LightningDataModule):
    """Loaders of someone else: batches without positions."""

    def __init__(self, images: int):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (images, 3, 1, 1), dtype=torch.uint8, generator=generator)
        self.labels = torch.arange(images) % 3

    def train_dataloader(self):
        return DataLoader(TensorDataset(self.images, self.labels), 4)

    val_dataloader = test_dataloader = train_dataloader


def fitted(recipe: Recipe, epochs: int, **settings) -> tuple[ImageClassifier, L.Trainer, list, Plain]:
    """A training under a plain Trainer; the rate and torch's seed that each batch saw."""
    seen = []

    class See(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append((trainer.optimizers[0].param_groups[0]["lr"], torch.initial_seed()))

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = L.Trainer(max_epochs=epochs, callbacks=[See()], num_sanity_val_steps=0, **quiet, **settings)
    module, data = ImageClassifier(Pixels(3), PLAIN, recipe), Plain(16)
    trainer.fit(module, data)
    return module, trainer, seen, data


def test_warmup_counts_steps_where_gradients_are_accumulated():
    """4 batches an epoch, 2 a step: a warm-up of one epoch takes 2 of the 6 steps of 3 epochs."""
    recipe = Recipe(lr=1e-3, layer_decay=1.0, warmup_epochs=1.0, ema=False)
    _, _, seen, _ = fitted(recipe, 3, accumulate_grad_batches=2)
    rates = [rate for rate, _ in seen][::2]
    steps = np.arange(6)
    expected = 1e-3 * np.minimum(1, (steps + 1) / 3) * 0.5 * (1 + np.cos(np.pi * steps / 6))
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_each_epoch_draws_from_a_seed_of_its_own_and_the_same_again():
    recipe = Recipe(layer_decay=1.0, ema=False, seed=3)
    first, again, other = (fitted(one, 6)[2] for one in (recipe, recipe, Recipe(layer_decay=1.0, ema=False, seed=4)))
    seeds = [seed for _, seed in first][::4]
    assert len(set(seeds)) == 6 and first == again
    assert not set(seeds) & {seed for _, seed in other}


def test_batches_without_positions_are_evaluated_in_their_order():
    module, trainer, _, data = fitted(Recipe(layer_decay=1.0, ema=False), 1)
    trainer.test(module, data, verbose=False)
    said = module.take_predictions()
    assert said.labels.tolist() == data.labels.tolist()
    with torch.no_grad():
        expected = module(data.images).softmax(1).numpy()
    np.testing.assert_allclose(said.probabilities, expected, atol=1e-6)
    assert float(trainer.callback_metrics["test_top1"]) == pytest.approx((said.predicted == said.labels).mean())
