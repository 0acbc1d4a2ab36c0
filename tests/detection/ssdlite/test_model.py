import pytest
import torch
from detecting import example
from detectron2.structures import Boxes, Instances
from torchvision.ops import box_iou

from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
from mixtransfer.detection.ssdlite.losses import HardNegativeCrossEntropy, SigmoidFocalLoss
from mixtransfer.detection.ssdlite.model import SSDLite, build_ssdlite

LOSSES = [HardNegativeCrossEntropy, SigmoidFocalLoss]


def detector(loss=HardNegativeCrossEntropy, num_classes: int = 80, **settings) -> SSDLite:
    torch.manual_seed(0)
    return build_ssdlite(SSDLiteBackbone("mobilenetv3_small_100", "none"), num_classes, loss(), **settings)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("objects", [(2, 3), (2, 0), (0, 0), (1,), (0,)])
def test_a_training_step(loss, objects):
    """Also on images without boxes, on a batch without any, and on a batch of one, whose coarsest maps are 1×1."""
    model = detector(loss)
    losses = model([example(objects=count, seed=i) for i, count in enumerate(objects)])
    assert set(losses) == {"loss_cls", "loss_box_reg"}
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name  # as distributed training needs
        assert parameter.grad.isfinite().all(), name
    assert (losses["loss_box_reg"] > 0) == (sum(objects) > 0)
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize("loss", LOSSES)
def test_it_learns_to_find_objects(loss):
    torch.manual_seed(1)
    boxes = torch.tensor([[[5.0, 5, 27, 27]], [[32.0, 27, 59, 59]]])
    inputs = []
    for label, box in enumerate(boxes):
        instances = Instances((64, 64), gt_boxes=Boxes(box), gt_classes=torch.tensor([label]))
        x1, y1, x2, y2 = box[0].int().tolist()
        image = torch.full((3, 64, 64), 100, dtype=torch.uint8)
        image[label, y1:y2, x1:x2] = 250
        inputs.append({"image": image, "instances": instances})
    model = detector(loss, num_classes=2)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 0.3
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        sum(model(inputs).values()).backward()
        optimizer.step()
    with torch.no_grad():
        results = model.eval()(inputs)
    for label, (box, result) in enumerate(zip(boxes, results, strict=True)):
        best = result["instances"][0]
        assert best.pred_classes.item() == label
        assert box_iou(best.pred_boxes.tensor, box).item() > 0.6


def test_detections_come_in_the_size_that_is_asked_for():
    model = detector().eval()
    image = example()["image"]
    with torch.no_grad():
        plain, scaled = model([{"image": image}, {"image": image, "height": 192, "width": 48}])
    plain, scaled = plain["instances"], scaled["instances"]
    assert plain.image_size == (96, 96)
    assert scaled.image_size == (192, 48)
    assert 0 < len(plain) <= 100
    torch.testing.assert_close(scaled.scores, plain.scores)
    assert torch.equal(scaled.pred_classes, plain.pred_classes)
    scale = torch.tensor([0.5, 2, 0.5, 2])
    torch.testing.assert_close(scaled.pred_boxes.tensor, plain.pred_boxes.tensor * scale)
    tensor = plain.pred_boxes.tensor
    assert tensor.min() >= 0
    assert tensor.max() <= 96
    assert (plain.scores.diff() <= 0).all()


def test_images_of_several_sizes_are_padded():
    model = detector()
    inputs = [example((96, 64)), example((80, 128), seed=1)]
    assert model.preprocess(inputs).tensor.shape == (2, 3, 96, 128)
    sum(model(inputs).values()).backward()
    with torch.no_grad():
        for result, given in zip(model.eval()(inputs), inputs, strict=True):
            size = tuple(given["image"].shape[1:])
            assert result["instances"].image_size == size
            boxes = result["instances"].pred_boxes.tensor
            assert boxes[:, 2].max() <= size[1]
            assert boxes[:, 3].max() <= size[0]


def test_settings_reach_the_suppression():
    image = example()["image"]
    with torch.no_grad():
        few = detector(detections_per_image=7).eval()([{"image": image}])[0]["instances"]
        none = detector(score_threshold=0.999).eval()([{"image": image}])[0]["instances"]
    assert len(few) == 7
    assert len(none) == 0


@pytest.mark.parametrize("which", [0, 1])
def test_an_object_of_no_size_spoils_nothing(which):
    given, model = example(), detector()
    given["instances"].gt_boxes.tensor[which] = torch.tensor([5.0, 5.0, 5.0, 9.0])
    losses = model([given])
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_thousand_objects():
    losses = detector()([example(objects=1000)])
    assert all(value.isfinite() for value in losses.values())


def test_as_many_of_one_class_are_looked_at_as_are_asked_for():
    model = detector()
    model.find_as(DetectorSpec(max_detections=50))
    assert (model.detections_per_image, model.candidates_per_class) == (50, 300)
    model.find_as(DetectorSpec(max_detections=500))
    assert model.detections_per_image == 500 <= model.candidates_per_class
