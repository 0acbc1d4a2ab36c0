"""Time of a training step and of inference, our SSDLite against torchvision's, side by side in one process.

    python tools/bench_detection.py --backbone mixnet_s

All see the same random images of 320 pixels. torchvision's ssdlite320_mobilenet_v3_large runs as its users have it
(NCHW), and once more in channels_last, which ours always is. Rounds alternate, so that whatever else the machine does
hits all alike; a ratio is the median of the rounds' ratios of ours to another, and per MAC it is divided by that of
the networks' multiply-adds. Ours trains and predicts as `detect train` and `detect predict` do; the process keeps the
memory that it frees, as they do.

Inference is of one image, from pixels to boxes. The weights are random, so every class of every anchor is a candidate
for the suppression of duplicates ("all"); with the background favoured none is ("none"). A trained detector lies
between. The share is that of choosing candidates and suppressing duplicates in our inference.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from mixtransfer.backbones.fuse import for_inference
from mixtransfer.backbones.quicker import make_quicker
from mixtransfer.common.process import keep_freed_memory
from mixtransfer.detection.ssdlite import model as ssdlite
from mixtransfer.detection.ssdlite.backbone import SSDLiteBackbone
from mixtransfer.detection.ssdlite.cost import network_cost

SIZE = 320
CLASSES = 90  # and background, as torchvision's 91
OBJECTS = 7  # an image; COCO has 7.3

Step = Callable[[], None]


def our_detector(backbone: str) -> ssdlite.SSDLite:
    return ssdlite.build_ssdlite(SSDLiteBackbone(backbone, "none"), CLASSES, detections_per_image=300)


def torchvision_detector() -> nn.Module:
    return ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)


def our_inputs(images: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor) -> list[dict]:
    from detectron2.structures import Boxes, Instances  # after what prepares detectron2

    truth = [Instances((SIZE, SIZE), gt_boxes=Boxes(b), gt_classes=c) for b, c in zip(boxes, labels, strict=True)]
    return [{"image": image, "instances": instances} for image, instances in zip(images, truth, strict=True)]


def training_step(detector: nn.Module, *inputs: list) -> Step:
    optimizer = torch.optim.SGD(detector.train().parameters(), 0.01, momentum=0.9, weight_decay=4e-5)

    def step() -> None:
        optimizer.zero_grad()
        sum(detector(*inputs).values()).backward()
        optimizer.step()

    return step


def inference(detector: nn.Module, inputs: list) -> Step:
    detector.eval()

    @torch.inference_mode()
    def step() -> None:
        detector(inputs)

    return step


def alternate(contenders: dict[str, Step], rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds a step, of each contender in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for step in contenders.values():
        step()
        step()
    for _ in range(rounds):
        for name, step in contenders.items():
            start = time.perf_counter()
            for _ in range(steps):
                step()
            seconds[name].append((time.perf_counter() - start) / steps)
    return seconds


def compared(seconds: dict[str, list[float]], macs_ratio: float) -> dict:
    """Medians in milliseconds, and how ours compares with each other one."""
    result: dict = {"ms": {name: round(1000 * statistics.median(times), 1) for name, times in seconds.items()}}
    for name in [name for name in seconds if name != "ours"]:
        ratio = statistics.median(ours / other for ours, other in zip(seconds["ours"], seconds[name], strict=True))
        result[f"ours/{name}"] = round(ratio, 3)
        result[f"ours/{name} per MAC"] = round(ratio / macs_ratio, 3)
    return result


def measure_training(backbone: str, batch_size: int, rounds: int, steps: int, macs_ratio: float) -> dict:
    images = torch.randint(0, 256, (batch_size, 3, SIZE, SIZE), dtype=torch.uint8)
    corner = 200 * torch.rand(batch_size, OBJECTS, 2)
    boxes = torch.cat((corner, corner + 10 + 100 * torch.rand(batch_size, OBJECTS, 2)), 2)
    labels = torch.randint(0, CLASSES, (batch_size, OBJECTS))
    floats = list(images.float() / 255)
    targets = [{"boxes": b, "labels": c + 1} for b, c in zip(boxes, labels, strict=True)]
    last = torchvision_detector().to(memory_format=torch.channels_last)
    contenders = {
        "ours": training_step(make_quicker(our_detector(backbone)), our_inputs(images, boxes, labels)),
        "torchvision": training_step(torchvision_detector(), floats, targets),
        "torchvision channels_last": training_step(last, floats, targets),
    }
    return compared(alternate(contenders, rounds, steps), macs_ratio)


def measure_inference(backbone: str, background: float, rounds: int, steps: int, macs_ratio: float) -> dict:
    """Also how much of ours is the choice of detections, in per cent."""
    image = torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8)
    ours: Any = our_detector(backbone)
    theirs: Any = torchvision_detector()
    with torch.no_grad():
        for predictor in ours.head.classes:
            predictor[-1].bias.view(-1, CLASSES + 1)[:, -1] = background
        for predictor in theirs.head.classification_head.module_list:
            predictor[-1].bias.view(-1, CLASSES + 1)[:, 0] = background
    spent = 0.0
    choose = ssdlite.best_detections

    def timed(*arguments):
        nonlocal spent
        start = time.perf_counter()
        result = choose(*arguments)
        spent += time.perf_counter() - start
        return result

    contenders = {
        "ours": inference(for_inference(ours, "cpu"), [{"image": image}]),
        "torchvision": inference(theirs, [image.float() / 255]),
    }
    result = compared(alternate(contenders, rounds, steps), macs_ratio)
    ssdlite.best_detections = timed
    seconds = alternate({"ours": contenders["ours"]}, 1, rounds * steps)["ours"][0]
    ssdlite.best_detections = choose
    result["suppression_percent"] = round(100 * spent / (rounds * steps + 2) / seconds, 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mixnet_s")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="training steps a round; four times as many inferences")
    options = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    ours = network_cost(our_detector(options.backbone), SIZE)["macs"]
    theirs = network_cost(torchvision_detector(), SIZE)["macs"]
    ratio = ours / theirs
    result = {
        "backbone": options.backbone, "batch_size": options.batch_size, "torch": torch.__version__,
        "gmacs": {"ours": round(ours / 1e9, 3), "torchvision": round(theirs / 1e9, 3)},
        "training": measure_training(options.backbone, options.batch_size, options.rounds, options.steps, ratio),
    }  # fmt: skip
    for name, background in (("all", 0.0), ("none", 20.0)):
        steps = 4 * options.steps
        result[f"inference, {name} candidates"] = measure_inference(
            options.backbone, background, options.rounds, steps, ratio
        )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
