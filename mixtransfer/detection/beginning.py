"""What a detector's training begins with: the network and its start, the optimizer, the type to compute in."""

from typing import Any

import torch
from detectron2.utils import comm
from timm.layers import convert_sync_batchnorm
from torch import nn

from mixtransfer.backbones.folding import fold_batch_norm
from mixtransfer.backbones.quicker import make_quicker
from mixtransfer.common.device import best_device
from mixtransfer.common.messages import tell
from mixtransfer.data.lookup import some
from mixtransfer.detection.machines import ENOUGH
from mixtransfer.detection.model import Card, build_detector
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.ssdlite.model import SSDLite
from mixtransfer.detection.starts import Start, find_start, load_start


def start_network(options: TrainOptions, described: Card, resumes: bool) -> SSDLite:
    """A detector with the weights that training starts from; if it resumes a checkpoint, with any."""
    start = None if resumes else find_start(options.weights)
    weights = "none" if start or resumes else options.weights
    card, spec, _ = described
    model = build_detector(card.spec, weights, len(card.classes), spec)  # the file that --backbone named may be gone
    make_trainable(model, options)
    if start:
        known = load_start(model, start, card.classes, spec.loss)
        if comm.is_main_process():
            tell(_started(start, known, card.classes, spec.loss))
    return model


def make_trainable(model: SSDLite, options: TrainOptions) -> None:
    """Freeze what resolved options freeze, and have steps on a CPU take less time."""
    if best_device().type == "cpu":
        make_quicker(model)
    if not model.backbone.freeze(options.freeze_at or 0) and options.freeze_at and comm.is_main_process():
        tell(f"Nothing is frozen: {options.backbone} has no map up to stride {2**options.freeze_at} (--freeze-at).")
    if options.freeze_at or options.batch_norm == "frozen":
        fold_batch_norm(model.backbone.body)


def with_shared_statistics(model: SSDLite, images: float) -> SSDLite:
    """A detector whose batch norms go by all devices' images, where each device has few of them at a time.

    Args:
        images: That a device has at a time.
    """
    if images < ENOUGH:
        model = convert_sync_batchnorm(model)  # torch's own would drop the activations that timm's norms hold
        model.backbone.watch_expansion()
    return model


def keep_statistics(body: nn.Module, of_all: bool) -> None:
    """Have batch norm, all or what is not trained, normalise by the statistics that it has, and keep them."""
    for module in body.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (of_all or not module.weight.requires_grad):
            module.eval()


def _started(start: Start, known: list[str], classes: list[str], loss: str) -> str:
    """The sentence on what a detector that training starts from knows of the classes."""
    if len(known) == len(classes):
        return f"Started from {start.name}, which knows all classes."
    new = [name for name in classes if name not in known]
    if known:
        words = f"{some(known, 10)} as there, {some(new, 10)} from scratch"
        return f"Started from {start.name}; {len(known)} of {len(classes)} classes by name: {words}."
    why = " (it has another loss)" if start.spec.loss != loss else ""
    why = why or (" (it has no names)" if not any(start.classes) else "")
    return f"Started from {start.name}; classes by name: none is known{why}: {some(new, 10)}."


def make_optimizer(model: SSDLite, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimizer of what is trained, by resolved options; the body has groups of its own if its rate is another.

    A recipe may set the optimizer's other arguments, and have norms and biases decay too.
    """
    assert options.lr is not None
    recipe = options.recipe or {}
    more = recipe.get("optimizer", {})
    kept = options.weight_decay if recipe.get("norm_decay") else 0.0
    body = {id(parameter) for parameter in model.backbone.body.parameters()} if options.body_lr != 1 else set()
    fused = (
        {} if more.keys() & {"foreach", "differentiable"} else {"fused": True}
    )  # on the CPU a quarter of the time that one by one takes
    groups: list[dict[str, Any]] = []
    for of_body, rate in ((False, options.lr), (True, options.lr * options.body_lr))[: 1 + bool(body)]:
        own = [p for p in model.parameters() if p.requires_grad and (id(p) in body) is of_body]
        for decays in (True, False):
            parameters = [parameter for parameter in own if (parameter.ndim > 1) is decays]
            groups.append({"params": parameters, "lr": rate, "weight_decay": options.weight_decay if decays else kept})
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, options.lr, **{"momentum": 0.9, **fused, **more})
    return torch.optim.AdamW(groups, options.lr, **{**fused, **more})


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """The type that autocast computes in, or None for 32 bits."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    return {"32": None, "bf16": torch.bfloat16, "16": torch.float16}[precision]
