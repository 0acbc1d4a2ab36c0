from pathlib import Path

import pytest
import torch
from detecting import example
from detectron2.config import LazyConfig, get_cfg, instantiate
from detectron2.modeling import build_model
from detectron2.solver import LRMultiplier

from mixtransfer.detection.ssdlite.config import add_ssdlite_config
from mixtransfer.detection.ssdlite.losses import SigmoidFocalLoss
from mixtransfer.detection.ssdlite.model import SSDLite

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "detection"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_every_recipe_trains_a_step(path):
    config = LazyConfig.load(str(path))
    assert set(config) == {"model", "optimizer", "lr_multiplier", "train", "dataloader"}
    assert path.stem.removesuffix("_200_epochs") == f"ssdlite_{config.model.backbone.name.replace('.', '_')}_coco"
    config.model.backbone.weights = "none"
    assert f"--config configs/detection/{path.name} " in path.read_text()
    model = instantiate(config.model)
    config.optimizer.params.model = model
    optimizer = instantiate(config.optimizer)
    schedule = LRMultiplier(optimizer, instantiate(config.lr_multiplier), config.train.max_iter)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(config.optimizer.lr / 1000)
    before = [parameter.clone() for parameter in model.parameters()]
    sum(model([example((64, 64))]).values()).backward()
    optimizer.step()
    schedule.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert optimizer.param_groups[0]["lr"] > config.optimizer.lr / 1000


def test_a_recipe_can_be_changed_and_saved(tmp_path):
    config = LazyConfig.load(str(CONFIGS / "ssdlite_mixnet_s_coco.py"))
    config.model.backbone.update(name="mobilenetv3_small_100", tap="stage")
    config.model.num_classes = 3
    LazyConfig.save(config, str(tmp_path / "config.yaml"))
    model = instantiate(LazyConfig.load(str(tmp_path / "config.yaml")).model)
    assert isinstance(model, SSDLite)
    assert model.head.num_logits == 4
    assert model.backbone.output_shape()["stride16"].channels == 48


@pytest.mark.parametrize(("loss", "logits"), [("cross_entropy", 6), ("focal", 5)])
def test_through_the_registries(loss, logits):
    cfg = get_cfg()
    add_ssdlite_config(cfg)
    cfg.merge_from_list([
        "MODEL.DEVICE", "cpu", "MODEL.SSDLITE.BACKBONE", "mobilenetv3_small_100", "MODEL.SSDLITE.TAP", "stage",
        "MODEL.SSDLITE.BACKBONE_WEIGHTS", "none", "MODEL.SSDLITE.NUM_CLASSES", 5, "MODEL.SSDLITE.LOSS", loss,
        "TEST.DETECTIONS_PER_IMAGE", 9,
    ])  # fmt: skip
    model = build_model(cfg)
    assert isinstance(model, SSDLite)
    assert model.head.num_logits == logits
    assert isinstance(model.classification_loss, SigmoidFocalLoss) == (loss == "focal")
    losses = model([example((64, 64), num_classes=5)])
    assert sum(losses.values()).isfinite()
    with torch.no_grad():
        result = model.eval()([example((64, 64))])[0]["instances"]
    assert len(result) <= 9
    assert model.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
