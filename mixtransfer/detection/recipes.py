"""Recipes in detectron2's LazyConfig format, as options of `detect train`: followed to the last field, or refused.

A recipe has the parts that detectron2's own tools/lazyconfig_train_net.py reads: ``model``, ``optimizer``,
``lr_multiplier``, ``train`` and ``dataloader``. What is no option of ``TrainOptions`` goes into its field ``recipe``.
Recipes of older versions have no ``dataloader``, and ``lr_multiplier``, ``image_size`` and ``batch_size`` in ``train``:
they leave the augmentation to the options.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from mixtransfer.detection.compat import load_lazy_config
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.spec import DetectorSpec, in_words
from mixtransfer.errors import UserError

PARTS = ("model", "optimizer", "lr_multiplier", "train", "dataloader")
# What the script reads and `detect train` has in its own way: only the usual values are taken.
USUAL_TRAIN = {
    "output_dir": "./output",
    "init_checkpoint": "",
    "device": "cuda",
    "log_period": 20,
    "checkpointer": {"period": 5000, "max_to_keep": 2},
    "ddp": {"broadcast_buffers": True, "find_unused_parameters": False, "fp16_compression": False},
}
OPTIONS = {field.name for field in fields(TrainOptions)}


class Unread(Exception):
    """What of a recipe no option can say, in words that follow "says"."""


def read_recipe(path: str) -> dict[str, Any]:
    """The options that a LazyConfig file stands for.

    The file is Python, which is run: it is as trusted as a program.

    Raises:
        UserError: The file cannot be read, or says something that `detect train` would not follow.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no recipe {path}.")
    try:
        return _options(load_lazy_config(path))
    except UserError:
        raise
    except Unread as error:
        raise UserError(
            f"The recipe {path} says {error}, which detect train would not follow: take it out, or train by "
            "detectron2's own lazyconfig_train_net.py."
        ) from error
    except Exception as error:  # the file is Python and may fail in any way
        raise UserError(f"The recipe {path} cannot be read ({type(error).__name__}: {error}).") from error


def _options(recipe: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    _only(recipe, PARTS, "")
    train: Any = OmegaConf.to_container(recipe.train)
    old = "dataloader" not in recipe
    shown = {"size": train.pop("image_size"), "resize": "warp"} if old else {}
    batch = {"batch_size": train.pop("batch_size")} if old else _dataloader(recipe.dataloader, shown)
    schedule = train.pop("lr_multiplier", None)
    schedule = OmegaConf.to_container(recipe.lr_multiplier) if "lr_multiplier" in recipe else schedule
    found = {"freeze_at": 0, **batch, **_train(train)}
    spec, model, named = _model(recipe.model, shown)
    found |= named | {name: value for name, value in spec.to_dict().items() if name in OPTIONS}
    found["anchors"] = in_words(spec.anchors)
    more = {
        name: value
        for name, value in spec.to_dict().items()
        if name not in OPTIONS and value != DetectorSpec().to_dict()[name]
    }
    found["recipe"] = {**more, "num_classes": model.num_classes}
    _optimizer(recipe.optimizer, model, found)
    _schedule(schedule, found)
    if not old:
        found |= {"ema": False, "clip_grad": 0.0}  # as the script trains
    return found


def _only(node: Mapping, known: Collection[str], where: str) -> None:
    if unknown := [str(key) for key in node if key not in known and key != "_target_"]:
        raise Unread(f"{where}{unknown[0]}")


def _dataloader(dataloader: Any, shown: dict[str, Any]) -> dict[str, Any]:
    """What the loaders say; the size and shape of the views go into ``shown``. Data and evaluator are the command's."""
    from detectron2.config import instantiate

    from mixtransfer.data.detection.augment import DetectionAugment
    from mixtransfer.detection.mapper import EvaluationMapper, TrainingMapper

    _only(dataloader, ("train", "test", "evaluator"), "dataloader.")
    _only(
        dataloader.train,
        ("dataset", "mapper", "total_batch_size", "num_workers", "aspect_ratio_grouping"),
        "dataloader.train.",
    )
    mapper = instantiate(dataloader.train.mapper)
    if not isinstance(mapper, TrainingMapper) or not isinstance(mapper.augment, DetectionAugment):
        raise Unread("dataloader.train.mapper, which is no TrainingMapper of a DetectionAugment")
    if dataloader.train.get("aspect_ratio_grouping"):
        raise Unread("dataloader.train.aspect_ratio_grouping")
    square = mapper.augment.square
    shown |= {"size": square.size, "resize": square.resize}
    if "test" in dataloader:
        _only(dataloader.test, ("dataset", "mapper", "num_workers"), "dataloader.test.")
        test = instantiate(dataloader.test.mapper)
        if not isinstance(test, EvaluationMapper) or test.square != square:
            raise Unread("dataloader.test.mapper with other views than those of dataloader.train")
    return {
        "augment": mapper.augment.policy,
        "batch_size": dataloader.train.total_batch_size,
        "workers": dataloader.train.get("num_workers"),
    }


def _train(train: dict[str, Any]) -> dict[str, Any]:
    _only(train, ("max_iter", "eval_period", "amp", *USUAL_TRAIN), "train.")
    for name, usual in USUAL_TRAIN.items():
        if train.get(name, usual) != usual:
            raise Unread(f"train.{name} = {train[name]!r}")
    amp = train.get("amp", {})
    _only(amp, ("enabled",), "train.amp.")
    precision = {"precision": "16" if amp["enabled"] else "32"} if "enabled" in amp else {}
    return {"iterations": train["max_iter"], "eval_every": train["eval_period"], **precision}


def _model(lazy: Any, shown: dict[str, Any]) -> tuple[DetectorSpec, Any, dict[str, str]]:
    """The description of the model, itself with random weights, and the options that its backbone is.

    What is built from the description has to be what the recipe builds.
    """
    from detectron2.config import instantiate

    from mixtransfer.data.detection.square import Square
    from mixtransfer.detection.model import build_detector
    from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
    from mixtransfer.detection.ssdlite.describe import PLAIN_PARTS, spec_of
    from mixtransfer.detection.ssdlite.model import SSDLite

    lazy = lazy.copy()
    weights = lazy.backbone.get("weights", "imagenet")
    lazy.backbone.weights = "none"
    model = instantiate(lazy)
    if not isinstance(model, SSDLite) or not isinstance(model.backbone, SSDLiteBackbone):
        raise Unread(f"a model that is a {type(model).__name__}")
    for name, kinds in PLAIN_PARTS.items():
        if type(part := getattr(model, name)) not in kinds:
            raise Unread(f"model.{name} = {type(part).__name__}")
    spec = spec_of(model, Square(**shown))
    named = {"backbone": lazy.backbone.name, "weights": weights}
    if difference := _difference(model, build_detector(lazy.backbone.name, "none", model.num_classes, spec)):
        raise Unread(difference)
    return spec, model, named


def _difference(model: Any, built: Any) -> str | None:
    """The first thing in which two networks differ, in words, or None; weights may."""
    its = dict(_settings(built))
    for name, value in _settings(model):
        if name not in its or its[name] != value:
            return f"{name} = {value}"
    return None


def _settings(model: Any) -> Iterator[tuple[str, Any]]:
    """Layers with their settings, the parts beside them, and which parameters are trained."""
    for name, layer in model.named_modules():
        yield f"model.{name}", f"{type(layer).__name__}({layer.extra_repr()})"
    for part in ("", ".anchor_generator", ".matcher", ".box_transform", ".classification_loss"):
        for key, value in _plain(getattr(model, part[1:]) if part else model).items():
            yield f"model{part}.{key}", value
    for name, parameter in model.named_parameters():
        yield f"model.{name}.requires_grad", parameter.requires_grad


def _plain(part: Any) -> dict[str, Any]:
    """The settings of a part, and its class."""
    kinds = (bool, int, float, str, tuple, list)
    return {"class": type(part).__name__} | {
        key: value for key, value in vars(part).items() if isinstance(value, kinds) and not key.startswith("_")
    }


def _optimizer(lazy: Any, model: Any, found: dict[str, Any]) -> None:
    """What an optimizer says; what is made from the options has to treat each parameter as it does."""
    import torch
    from detectron2.config import instantiate

    from mixtransfer.detection.beginning import make_optimizer

    lazy = lazy.copy()
    lazy.params.model = model
    given = instantiate(lazy)
    kinds: dict[type, str] = {torch.optim.SGD: "sgd", torch.optim.AdamW: "adamw"}
    if type(given) not in kinds:
        raise Unread(f"an optimizer {type(given).__name__}")
    body = {id(parameter) for parameter in model.backbone.body.parameters()}
    settings = _by_parameter(given)
    of_body, others = ([one for key, one in settings.items() if (key in body) is inside] for inside in (True, False))
    lr, decay = max(one["lr"] for one in others), max(one["weight_decay"] for one in settings.values())
    small = {id(parameter) for parameter in model.parameters() if parameter.ndim < 2}
    usual = kinds[type(given)]
    plain = type(given)([torch.nn.Parameter(torch.zeros(1))], lr=lr).defaults
    plain |= {"momentum": 0.9} if usual == "sgd" else {}
    more = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in given.defaults.items()
        if key not in ("lr", "weight_decay") and value != plain[key]
    }
    found |= {"optimizer": usual, "lr": lr, "weight_decay": decay, "body_lr": of_body[0]["lr"] / lr if lr else 1.0}
    found["recipe"] |= {"optimizer": more} if more else {}
    if decay and any(settings[key]["weight_decay"] for key in small):
        found["recipe"]["norm_decay"] = True
    made = _by_parameter(make_optimizer(model, TrainOptions(**found)))
    for key, one in settings.items():
        for name, value in one.items():
            if name == "fused" and value is None:
                continue  # left open: it is how a step is computed, not what it is
            its = made[key][name]
            close = isinstance(value, float) and abs(value - its) <= 1e-9 * abs(value)
            if not close and list(value if isinstance(value, tuple) else [value]) != list(
                its if isinstance(its, tuple | list) else [its]
            ):
                raise Unread(f"optimizer.params, by which the {name} of some parameters is {value!r}")


def _by_parameter(optimizer: Any) -> dict[int, dict[str, Any]]:
    """The settings of each parameter, by its identity."""
    return {
        id(parameter): {key: value for key, value in group.items() if key not in ("params", "initial_lr", "lr_mult")}
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def _schedule(description: Any, found: dict[str, Any]) -> None:
    from mixtransfer.detection.schedule import build_schedule, describe_schedule

    if description is None:
        return
    try:
        described = describe_schedule(description)
    except UserError as error:
        raise Unread(str(error)) from error
    build_schedule(described)
    warmup = round((described.get("warmup_length") or 0) * found["iterations"])
    found["warmup"] = warmup
    found["recipe"] |= {"schedule": described, "warmup": warmup}
