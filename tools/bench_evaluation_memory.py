"""Memory that the evaluation of many images takes: detections stay, images do not.

    python tools/bench_evaluation_memory.py --images 5000

A detector with random weights, all of whose 100 detections an image are kept, sees the images of the demo's set over
and over. Peaks of resident memory after the first tenth and after all images are printed, with what the images
alone would take.
"""

import argparse
import resource
import tempfile
from dataclasses import replace
from pathlib import Path

from mixtransfer.data.detection.demo import write_digits_on_photos
from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.data.detection.square import Square
from mixtransfer.detection.inference import detect
from mixtransfer.detection.model import build_detector
from mixtransfer.detection.scores import coco_scores

SIZE = 320


def peak() -> float:
    """The largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--backbone", default="mobilenetv3_small_050")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = load_detection_dataset(str(write_digits_on_photos(Path(folder) / "set", 40, 10)))
        made = [*dataset.train, *dataset.val, *dataset.test]
        records = [replace(made[i % len(made)], image_id=i + 1) for i in range(arguments.images)]
        model = build_detector(arguments.backbone, "none", len(dataset.classes)).eval()
        model.score_threshold = 0.0
        peaks, found = {}, []
        for part in (records[: arguments.images // 10], records[arguments.images // 10 :]):
            found += detect(model, part, Square(SIZE))
            peaks[len(found)] = peak()
        coco_scores(records, found, dataset.classes, dataset.category_ids)
    for count, memory in peaks.items():
        print(f"{count:,} images detected: {memory:.0f} MB")
    print(f"scored, {sum(len(one.scores) for one in found):,} detections: {peak():.0f} MB")
    print(f"the images alone, {SIZE}×{SIZE}×3 bytes each: {len(found) * SIZE * SIZE * 3 / 2**20:.0f} MB")


if __name__ == "__main__":
    main()
