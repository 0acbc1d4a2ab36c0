"""What is tried: the settings of a fine-tuning that matter, around the defaults for these images."""

from dataclasses import replace
from typing import Any

from mixtransfer.classification.options import TrainOptions

Settings = dict[str, Any]

RATE = 10.0  # the learning rate is tried up to so many times the default, and down to that share
WEIGHT_DECAYS = (1e-4, 0.3)
LAYER_DECAYS = (0.6, 0.7, 0.8, 0.9, 1.0)
AUGMENT = ("crop-flip", "standard", "strong")
WRITING = ("none", "crop")  # where left and right, and colours, are not to be touched
MIN_CROPS = (0.08, 0.3, 0.6)
SMOOTHING = (0.0, 0.1, 0.2)
MIXES = (0.0, 0.2, 0.8)
SIZES = (0.75, 1.0, 1.25)  # of the default side
STEP = 32  # pixels of a side


def distributions(defaults: TrainOptions, sizes: bool) -> dict[str, Any]:
    """Optuna's distributions by option, each of which holds the default.

    Args:
        defaults: Resolved options of a training on these images.
        sizes: Whether the size of the images is open.
    """
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    def choice(*values: Any) -> BaseDistribution:
        return CategoricalDistribution(values)

    rate, decay = float(str(defaults.lr)), defaults.weight_decay
    low, high = WEIGHT_DECAYS
    found: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(rate / RATE, rate * RATE, log=True),
        "weight_decay": FloatDistribution(min(low, decay), max(high, decay), log=True),
        "layer_decay": choice(*_with(LAYER_DECAYS, defaults.layer_decay)),
        "augment": choice(*_with(WRITING if defaults.augment in WRITING else AUGMENT, defaults.augment)),
        "min_crop": choice(*_with(MIN_CROPS, defaults.min_crop)),
        "label_smoothing": choice(*_with(SMOOTHING, defaults.label_smoothing)),
        "mixup": choice(*_with(MIXES, defaults.mixup)),
        "batch_norm": choice("frozen", "train"),
    }
    if sizes and defaults.image_size:
        near = (max(STEP, round(share * defaults.image_size / STEP) * STEP) for share in SIZES)
        found["image_size"] = choice(*_with(tuple(near), defaults.image_size))
    return found


def settings_of(options: TrainOptions, names: Any) -> Settings:
    """What options say of the settings that are tried."""
    return {name: getattr(options, name) for name in names}


def changed(options: TrainOptions, settings: Settings) -> TrainOptions:
    """Options with these settings."""
    return replace(options, **settings)


def _with(values: tuple, default: Any) -> list:
    """Choices that hold the default, in order."""
    return sorted({*values, default}, key=lambda value: (isinstance(value, str), value))
