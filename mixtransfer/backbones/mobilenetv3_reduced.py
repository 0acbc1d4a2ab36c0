"""MobileNetV3-Large with the reduced tail that its paper gives to detectors, as timm's blocks."""

from functools import partial

from timm.layers import get_act_layer
from timm.models import generate_default_cfgs, register_model
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.mobilenetv3 import MobileNetV3, _cfg, _create_mnv3
from torch import nn

BLOCKS = (
    ("ds_r1_k3_s1_e1_c16_nre",),
    ("ir_r1_k3_s2_e4_c24_nre", "ir_r1_k3_s1_e3_c24_nre"),
    ("ir_r3_k5_s2_e3_c40_se0.25_nre",),
    ("ir_r1_k3_s2_e6_c80", "ir_r1_k3_s1_e2.5_c80", "ir_r2_k3_s1_e2.3_c80"),
    ("ir_r2_k3_s1_e6_c112_se0.25",),
    ("ir_r3_k5_s2_e6_c80_se0.25",),  # 160 without the reduction
    ("cn_r1_k1_s1_c480",),  # 960
)

default_cfgs = generate_default_cfgs({"mobilenetv3_large_100_reduced.untrained": _cfg(mean=(0.5,) * 3, std=(0.5,) * 3)})


@register_model
def mobilenetv3_large_100_reduced(pretrained: bool = False, **kwargs) -> MobileNetV3:
    """MobileNetV3-Large with half the channels behind stride 16 (Howard et al., ICCV 2019, section 6.3 and Table 6).

    It is torchvision's ``mobilenet_v3_large(reduced_tail=True)``, of whose SSDLite it has the pixel statistics, and the
    epsilon of the batch norms.
    """
    return _create_mnv3(
        "mobilenetv3_large_100_reduced",
        pretrained,
        **{
            "block_args": decode_arch_def([list(stage) for stage in BLOCKS]),
            "num_features": 640,
            "stem_size": 16,
            "norm_layer": partial(nn.BatchNorm2d, eps=1e-3),
            "act_layer": get_act_layer("hard_swish"),
            "se_layer": partial(
                SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU, rd_round_fn=round_channels
            ),
            **kwargs,
        },
    )
