"""`detect demo`: the main job on images made from data that comes with a dependency."""

from pathlib import Path

from mixtransfer.data.detection.demo import write_digits_on_photos
from mixtransfer.detection.options import DemoOptions, PredictOptions, TrainOptions
from mixtransfer.detection.predict import RunDetector, predict
from mixtransfer.detection.train import train
from mixtransfer.runs.run import Run

IMAGE_SIZE = 160  # pixels; the digits are large
LR = 2e-3  # so few iterations gain from large steps
SHOWN = 6


def run_demo(options: DemoOptions) -> Run:
    """Make the images, train, and draw the detections on some of the test images into ``detections/`` of the run."""
    print(f"{options.backbone} on {options.images} photographs with handwritten digits (scikit-learn's).")
    data = Path(options.data_root) / f"digits-on-photos-{options.images}-{options.seed}"
    if not (data / "annotations" / "instances_test.json").exists():  # which is written last
        write_digits_on_photos(data, options.images, options.images // 4, options.seed)
    run = train(
        TrainOptions(
            data=str(data),
            backbone=options.backbone,
            weights=options.weights,
            augment="crop",
            image_size=IMAGE_SIZE,
            lr=LR,
            iterations=options.iterations,
            eval_every=max(1, options.iterations // 4),
            seed=options.seed,
            output=options.output,
        )
    )
    assert run  # one process
    images = [str(path) for path in sorted((data / "test").glob("*.jpg"))[:SHOWN]]
    drawn = run.folder / "detections"
    for _ in predict(PredictOptions(str(run.folder), images, str(drawn)), RunDetector(str(run.folder))):
        pass
    print(f"Pictures: {drawn}")
    return run
