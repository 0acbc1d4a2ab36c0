"""Batch norm that keeps its statistics, folded into the convolution before it at every step.

A batch norm in evaluation mode is a scale and a shift for each channel. Taken into the convolution's weights and
bias they cost next to nothing, while on their own they read and write every activation once more, and once again
backwards. Unlike a folding for export this keeps all parameters, so a network can be trained with it.
"""

import inspect
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d, pad_same
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.mixed_conv2d import MixedConv2d
from torch import fx, nn

from mixtransfer.backbones.mixconv import MixConv2d
from mixtransfer.backbones.quicker import GroupedPointwise

_Mixed = (MixConv2d, MixedConv2d)


def fold_batch_norm(model: nn.Module) -> int:
    """Have each convolution do the work of the batch norm after it, whenever that is in evaluation mode.

    Outputs and gradients stay the same up to rounding, and so do parameters, buffers and their names. In training
    mode the batch norm does its own work as before. Of a network that torch.fx cannot trace, the parts are folded
    that it can.

    Returns:
        The number of batch norms that are folded.
    """
    modules = dict(model.named_modules())
    pairs = foldable_pairs(model)
    for conv, norm in ((modules[a], modules[b]) for a, b in pairs):
        conv.batch_norm = (norm,)  # in a tuple it does not become a submodule
        # Partial functions, because methods that the class does not have cannot be pickled.
        conv.forward, norm.forward = partial(_convolve_and_normalize, conv), partial(_activate, norm)
    return len(pairs)


def unfold_batch_norm(model: nn.Module) -> None:
    """Undo ``fold_batch_norm``."""
    conv: Any
    for conv in [module for module in model.modules() if "batch_norm" in vars(module)]:
        (norm,) = conv.batch_norm
        del conv.forward, norm.forward, conv.batch_norm


def foldable_pairs(model: nn.Module) -> list[tuple[str, str]]:
    """Names of each convolution (a MixConv is one) and of the batch norm that alone reads what it gives."""
    try:
        graph = _Tracer().trace(model)
    except Exception:  # tracing runs the network's own code, which may fail in any way
        parts = ((name, foldable_pairs(child)) for name, child in model.named_children())
        return [(f"{name}.{conv}", f"{name}.{norm}") for name, pairs in parts for conv, norm in pairs]
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    modules = dict(model.named_modules())
    pairs = []
    for node in graph.nodes:
        if node.op != "call_module" or not _foldable(modules[node.target]) or len(node.users) != 1:
            continue
        (user,) = node.users
        if user.op != "call_module" or calls.count(node.target) > 1 or calls.count(user.target) > 1:
            continue
        norm = modules[user.target]
        if _is_plain(norm) and norm.affine and norm.track_running_stats:
            pairs.append((node.target, user.target))
    return pairs


def scale_and_shift(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What a batch norm in evaluation mode multiplies by and adds, both of shape (channels,)."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


class _Tracer(fx.proxy.GraphAppendingTracer):
    """Follows a network's code with convolutions, batch norms and torch's own layers as single operations.

    ``fx.Tracer`` changes ``nn.Module`` itself while it traces, which breaks every network that another thread uses
    meanwhile. This one changes the layers of its network only.
    """

    def __init__(self) -> None:
        super().__init__(fx.Graph())

    def trace(self, model: nn.Module) -> fx.Graph:
        """
        Raises:
            Exception: Of any kind, if the network's code asks of a tensor what is not known before it is run.
        """
        forward = type(model).forward
        inputs: dict[str, fx.Proxy] = {}
        for name, parameter in list(inspect.signature(forward).parameters.items())[1:]:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise fx.proxy.TraceError(f"any number of inputs: {name}")
            inputs[name] = self.create_proxy("placeholder", name, (), {})
        leaves: dict[str, Any] = {name: layer for name, layer in model.named_modules() if name and _is_leaf(layer)}
        calls = {name: vars(leaf).get("_compiled_call_impl") for name, leaf in leaves.items()}
        try:
            for name, leaf in leaves.items():  # what nn.Module.__call__ asks first
                vars(leaf)["_compiled_call_impl"] = partial(self._call, name)
            with torch.no_grad():
                outputs = forward(model, **inputs)
        finally:
            for name, leaf in leaves.items():
                if calls[name] is None:
                    del vars(leaf)["_compiled_call_impl"]
                else:
                    vars(leaf)["_compiled_call_impl"] = calls[name]
        self.create_node("output", "output", (self.create_arg(outputs),), {})
        return self.graph

    def create_arg(self, a: Any) -> Any:
        return None if isinstance(a, torch.Tensor) else super().create_arg(a)  # a parameter is no layer's output

    def _call(self, name: str, *inputs: Any, **named: Any) -> fx.Proxy:
        return self.create_proxy("call_module", name, inputs, named)


def _is_leaf(layer: nn.Module) -> bool:
    if isinstance(layer, (nn.Conv2d, *_Mixed, nn.modules.batchnorm._BatchNorm)):
        return True
    return type(layer).__module__.startswith(("torch.nn", "torch.ao.nn")) and not isinstance(layer, nn.Sequential)


def _foldable(module: nn.Module) -> bool:
    if isinstance(module, _Mixed):
        return not getattr(module, "merged", False) and all(_foldable(conv) for conv in module.children())
    if type(module) is nn.Conv2d:
        return module.padding_mode == "zeros"
    return type(module) is Conv2dSame


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is a batch norm, with an activation or without, and no more in evaluation mode."""
    return type(module) in (nn.BatchNorm2d, BatchNormAct2d) or getattr(type(module), "plain_in_evaluation", False)


def _convolve_and_normalize(conv: Any, x: torch.Tensor) -> torch.Tensor:
    (norm,) = conv.batch_norm
    if norm.training:
        return type(conv).forward(conv, x)
    return _convolve(conv, x, *scale_and_shift(norm))


def _activate(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    if norm.training:
        return type(norm).forward(norm, x)
    return norm.act(norm.drop(x)) if isinstance(norm, BatchNormAct2d) else x


def _convolve(conv: Any, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """``scale * conv(x) + shift`` in one convolution; both of shape (channels out,)."""
    if isinstance(conv, GroupedPointwise):
        return conv.convolve(x, *_scaled(*conv.kernels(), scale, shift))
    if isinstance(conv, _Mixed):
        convs = list(conv.children())
        widths = [c.out_channels for c in convs]
        parts = zip(x.split(conv.splits, dim=1), scale.split(widths), shift.split(widths), strict=True)
        return torch.cat([_convolve(c, *part) for c, part in zip(convs, parts, strict=True)], dim=1)
    weight, bias = _scaled(conv.weight, conv.bias, scale, shift)
    padding = conv.padding
    if isinstance(conv, Conv2dSame):
        x, padding = pad_same(x, list(conv.kernel_size), list(conv.stride), list(conv.dilation)), 0
    return F.conv2d(x, weight, bias, conv.stride, padding, conv.dilation, conv.groups)


def _scaled(
    weight: torch.Tensor, bias: torch.Tensor | None, scale: torch.Tensor, shift: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return weight * scale.view(-1, 1, 1, 1), shift if bias is None else torch.addcmul(shift, bias, scale)
