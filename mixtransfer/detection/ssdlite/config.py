"""SSDLite through detectron2's other configuration system, a CfgNode and registries.

cfg = get_cfg()
add_ssdlite_config(cfg)
cfg.MODEL.SSDLITE.BACKBONE = "mixnet_m"
model = build_model(cfg)
"""

from dataclasses import asdict

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY

from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.detection.ssdlite import model  # noqa: F401  registers the meta-architecture
from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone

# What detectron2 has keys of its own for, or gives them other names.
OWN_KEYS = {"min_score": "SCORE_THRESH_TEST", "nms": "NMS_THRESH_TEST", "loss": "LOSS"}
ELSEWHERE = ("image_size", "resize", "tap", "pixel_mean", "pixel_std", "max_detections", "thresholds")


def add_ssdlite_config(cfg: CfgNode) -> None:
    """Make SSDLite the model of a configuration, on MixNet-S with ImageNet weights, and add its keys: the fields of
    ``DetectorSpec`` in capitals, as far as detectron2 has none.

    Images have to come as RGB (``INPUT.FORMAT``, which is set) and in one size. The pixel statistics are ImageNet's;
    another backbone may want others, which ``SSDLiteBackbone`` has as ``pixel_mean`` and ``pixel_std``.
    """
    cfg.MODEL.META_ARCHITECTURE = "SSDLite"
    cfg.MODEL.BACKBONE.NAME = "build_ssdlite_backbone"
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.28, 103.53]
    cfg.MODEL.PIXEL_STD = [58.395, 57.12, 57.375]
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.SSDLITE = CfgNode()
    cfg.MODEL.SSDLITE.BACKBONE = "mixnet_s"  # any name of the registry
    cfg.MODEL.SSDLITE.BACKBONE_WEIGHTS = "imagenet"  # or none, or a file
    cfg.MODEL.SSDLITE.TAP = ""  # expanded, stage, or empty for what suits the backbone
    cfg.MODEL.SSDLITE.NUM_CLASSES = 80
    for name, value in asdict(DetectorSpec()).items():
        if name not in ELSEWHERE:
            setattr(cfg.MODEL.SSDLITE, OWN_KEYS.get(name, name.upper()), value)


def read_ssdlite_config(cfg: CfgNode) -> DetectorSpec:
    """The description of a detector in a configuration with ``add_ssdlite_config``."""
    values = {
        name: getattr(cfg.MODEL.SSDLITE, OWN_KEYS.get(name, name.upper()))
        for name in asdict(DetectorSpec())
        if name not in ELSEWHERE
    }
    values |= {"tap": cfg.MODEL.SSDLITE.TAP or "auto", "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE}
    values |= {"pixel_mean": cfg.MODEL.PIXEL_MEAN, "pixel_std": cfg.MODEL.PIXEL_STD}
    return DetectorSpec.from_dict(values, "cfg.MODEL.SSDLITE")


@BACKBONE_REGISTRY.register()
def build_ssdlite_backbone(cfg: CfgNode, input_shape) -> SSDLiteBackbone:
    """The backbone that ``cfg.MODEL.SSDLITE`` names."""
    settings = cfg.MODEL.SSDLITE
    return SSDLiteBackbone(
        settings.BACKBONE, settings.BACKBONE_WEIGHTS, settings.TAP or None, norm_eps=settings.NORM_EPS
    )
