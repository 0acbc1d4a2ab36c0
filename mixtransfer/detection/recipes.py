"""Recipes in detectron2's LazyConfig format, as options of `detect train`."""

from pathlib import Path
from typing import Any

from mixtransfer.detection.compat import prepare_detectron2
from mixtransfer.errors import UserError

LOSS_NAMES = {"HardNegativeCrossEntropy": "cross_entropy", "SigmoidFocalLoss": "focal"}


def read_recipe(path: str) -> dict[str, Any]:
    """The options that a LazyConfig file with ``model``, ``optimizer`` and ``train`` stands for.

    Options carry the backbone, its tap, the loss, the optimizer and the schedule. A recipe that changes more, such as
    the anchors, is for detectron2's own engine. The file is Python, which is run: it is as trusted as a program.

    Raises:
        UserError: The file cannot be read, or says something that no option can.
    """
    prepare_detectron2()
    from detectron2.config import LazyConfig, instantiate

    if not Path(path).is_file():
        raise UserError(f"There is no recipe {path}.")
    try:
        recipe = LazyConfig.load(path)
        model, optimizer, train = recipe.model, recipe.optimizer, recipe.train
        _reject_other_parts(path, model)
        schedule = train.lr_multiplier
        return {
            "backbone": model.backbone.name,
            "weights": model.backbone.weights,
            "tap": model.backbone.tap or "auto",
            "loss": LOSS_NAMES[_name(model.classification_loss)],
            "anchors": ",".join(map(str, instantiate(model.anchor_generator).scales)),
            "optimizer": _name(optimizer).lower(),
            "lr": optimizer.lr,
            "weight_decay": optimizer.weight_decay,
            "image_size": train.image_size,
            "batch_size": train.batch_size,
            "iterations": train.max_iter,
            "eval_every": train.eval_period,
            "warmup": round(schedule.warmup_length * train.max_iter),
        }
    except UserError:
        raise
    except Exception as error:  # the file is Python and may fail in any way
        raise UserError(f"The recipe {path} cannot be read ({type(error).__name__}: {error}).") from error


def _reject_other_parts(path: str, model: Any) -> None:
    """Options cannot say what differs from the parts that ``build_detector`` puts together."""
    from detectron2.config import instantiate

    from mixtransfer.detection.ssdlite.anchors import SSDAnchorGenerator

    own = instantiate(model.anchor_generator)
    if own.sizes != SSDAnchorGenerator(min_ratio=own.scales[0], max_ratio=own.scales[1]).sizes:
        raise UserError(
            f"The recipe {path} changes the anchors' shapes, which no option can: train it by detectron2's engine."
        )


def _name(lazy: Any) -> str:
    """The class that a LazyCall would call."""
    target = lazy["_target_"]
    return target.rsplit(".", 1)[-1] if isinstance(target, str) else target.__name__
