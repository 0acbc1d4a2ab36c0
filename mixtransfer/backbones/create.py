"""From a name to a network."""

import os
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import _create_effnet
from torch import nn

from mixtransfer.backbones import mobilenetv3_reduced  # noqa: F401  registers it with timm
from mixtransfer.backbones.architecture import Architecture, Block
from mixtransfer.backbones.lighter import use_hard_swish
from mixtransfer.backbones.registry import BackboneSpec, backbone_spec
from mixtransfer.backbones.replace import depthwise_layers, replace_depthwise, use_mixconv
from mixtransfer.backbones.weights import (
    fetch_published,
    hub_error,
    load_weights,
    packaged_weights,
    read_state_dict,
)
from mixtransfer.common.ranges import whole
from mixtransfer.errors import UserError


def create_backbone(
    name: str | BackboneSpec,
    weights: str = "imagenet",
    num_classes: int = 1000,
    features_only: bool = False,
    merged: bool = False,
    image_size: int | None = None,
    **timm_kwargs: Any,
) -> nn.Module:
    """Build a backbone: images (n, 3, h, w), normalised as ``pretrained_cfg`` says, to logits (n, num_classes).

    The result is timm's model with every depthwise MixConv a ``MixConv2d``; ``pretrained_cfg`` is kept, so
    ``timm.data.resolve_model_data_config(model)`` gives the preprocessing.

    Args:
        name: See ``mixtransfer.backbones.registry``; or what is known of it already.
        weights: "imagenet" for the published ones, "none" for random ones, or a file.
        num_classes: With other than the weights' own classes the classifier is fresh; 0 leaves it out.
        features_only: Return timm's feature extractor instead: a list of maps (n, c, h, w), finest first.
        merged: See ``MixConv2d``.
        image_size: Side of the input in pixels, for a network that is built for one size (see ``has_one_size``), by
            default that of its weights; timm resizes what depends on it in published weights. Others take any.
        **timm_kwargs: For ``timm.create_model``, such as ``drop_rate``, or ``out_indices`` with ``features_only``.

    Raises:
        UserError: An unknown name, a negative number of classes, a variant that the network does not admit, weights
            that cannot be had, or weights of another architecture. Training from scratch is never a fallback.

    Examples:
        >>> images = torch.zeros(1, 3, 64, 64)
        >>> create_backbone("mobilenetv3_small_050", weights="none", num_classes=5).eval()(images).shape
        torch.Size([1, 5])
        >>> maps = create_backbone("mobilenetv3_small_050.mixconv35", weights="none", features_only=True)(images)
        >>> [tuple(features.shape[2:]) for features in maps]
        [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    """
    spec = backbone_spec(name)
    num_classes = whole("num_classes", num_classes)
    if image_size is not None:
        image_size = whole("image_size", image_size, 1)
    state = None
    published = False
    if not isinstance(weights, str | os.PathLike):
        raise UserError(f"weights is {weights!r}: take 'imagenet', 'none' for random ones, or a file.")
    if weights == "imagenet":
        state = packaged_weights(spec)
        if state is None:
            fetch_published(spec)
            published = True
    elif weights != "none":
        state = read_state_dict(weights)
    if features_only:
        timm_kwargs["features_only"] = True
    else:
        timm_kwargs["num_classes"] = num_classes
    if image_size and has_one_size(spec):
        timm_kwargs["img_size"] = image_size
    model = _build(spec, published, merged, timm_kwargs)
    model.spec = spec  # type: ignore[assignment]  # by which it can be built again
    if state is not None:
        source = "The lite0 package" if weights == "imagenet" else str(weights)
        try:
            load_weights(model, state, _whole(spec, timm_kwargs) if features_only else model, spec.name, source)
        except UserError as error:
            if not has_one_size(spec):
                raise
            raise UserError(f"{error} It may be of another --image-size: this network is built for one.") from error
    return model


def has_one_size(spec: BackboneSpec) -> bool:
    """Whether a network takes images of one size only, which it has to be built for."""
    config = None if spec.architecture else timm.get_pretrained_cfg(spec.tagged_name)
    return bool(config and config.fixed_input_size)


def _build(spec: BackboneSpec, pretrained: bool, merged: bool, timm_kwargs: dict[str, Any]) -> nn.Module:
    if spec.architecture:
        return use_mixconv(_from_blocks(spec.architecture, timm_kwargs), merged)
    try:
        model = timm.create_model(spec.tagged_name, pretrained=pretrained, **timm_kwargs)
    except OSError as error:  # the download broke off
        raise hub_error(spec, error) from error
    except RuntimeError as error:
        if not (pretrained and "img_size" in timm_kwargs):
            raise
        raise UserError(
            f"The published weights of {spec.name} do not fit images of {timm_kwargs['img_size']} pixels: leave "
            "--image-size out."
        ) from error
    use_mixconv(model, merged)
    if spec.hard_swish:
        try:
            use_hard_swish(model)
        except ValueError as error:
            raise UserError(f"{spec.name} cannot be had, choose another: {error}") from error
    if spec.kernel_sizes:
        try:
            layers = None if spec.layer is None else [_layer(model, spec.layer)]
            replace_depthwise(model, spec.kernel_sizes, spec.partition, spec.dilated, layers, merged)
        except ValueError as error:
            raise UserError(f"The variant {spec.name} cannot be had, choose another: {error}") from error
    return model


def _from_blocks(architecture: Architecture, timm_kwargs: dict[str, Any]) -> nn.Module:
    size = architecture.image_size
    config = {
        "architecture": architecture.name,
        "input_size": (3, size, size),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "conv_stem",
        "classifier": "classifier",
    }
    if timm_kwargs.get("features_only"):  # by default every map, where timm takes five
        strided = sum(Block.parse(stage[0]).stride == 2 for stage in architecture.blocks)
        timm_kwargs = {"out_indices": tuple(range(1 + strided)), **timm_kwargs}
    try:
        return _create_effnet(
            architecture.name,
            pretrained_cfg=config,
            block_args=decode_arch_def([list(stage) for stage in architecture.blocks]),
            stem_size=architecture.stem,
            num_features=architecture.head,
            round_chs_fn=_as_written,
            **timm_kwargs,
        )
    except (AssertionError, ValueError, RuntimeError, ArithmeticError, IndexError) as error:
        raise UserError(f"The network {architecture.name} cannot be built of its blocks: {error}.") from error


def _as_written(channels: int) -> int:
    """timm would round channels to a multiple of 8."""
    return channels


def _layer(model: nn.Module, number: int) -> str:
    """The name of a depthwise layer, by its number from 1."""
    names = list(depthwise_layers(model))
    if number > len(names):
        raise ValueError(f"it has {len(names)} depthwise layers.")
    return names[number - 1]


def _whole(spec: BackboneSpec, timm_kwargs: dict[str, Any]) -> nn.Module:
    """The network of a feature extractor with its classifier, without memory."""
    for_features = ("features_only", "out_indices", "feature_cls", "feature_location")
    with torch.device("meta"):
        return _build(spec, False, False, {k: v for k, v in timm_kwargs.items() if k not in for_features})
