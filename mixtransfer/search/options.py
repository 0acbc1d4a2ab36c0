"""The options of `search`: its interface, its help and what config.yaml records."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class SearchOptions:
    """Search for a network of your own within a budget, as MixNet was found, at a size that one machine can run.

    A supernet, which holds every network of a space, is trained once, from scratch or from a trained MixNet that it
    cuts parts from (--start); then Optuna's NSGA-II looks for the networks in it that nothing else beats in log loss
    and cost. Validation images choose, the test images are not touched. The winner is a backbone file, which every
    --backbone takes. The same command goes on after an interrupt; run at the same time in other terminals, or on
    machines that share --output and --storage, it helps.

    Args:
        data: An image folder, a CSV manifest, or cifar10, cifar100, pets, food101, digits.
        budget_macs: The most multiply-adds of an image that a network may take, such as 300e6; by default those of
            MixNet-S for images of that size.
        budget_ms: Also a limit of the latency of one image here, in milliseconds. Latency is then the cost that is
            weighed against the loss; it is estimated from some networks that are measured in the runtime.
        output: The search's folder; by default one under runs/ named after the data.
        start: A MixNet to cut parts from: a name with ImageNet weights, such as mixnet_m, or a run. By default the
            supernet is trained from scratch.
        budget_params: The most parameters, such as 4e6.
        budget_mb: The largest file of weights in 32 bits, in megabytes of 1e6 bytes.
        runtime: Whose latency that is.
        data_root: Where named datasets live, or are downloaded to.
        image_size: Side of the input in pixels; by default the images' own, in steps of 32, at most 224.
        epochs: Passes over the training set for the supernet.
        batch_size: Images a step, which all go through one network.
        lr: Peak learning rate of the supernet.
        augment: none, crop (for writing and digits), crop-flip (the paper's), standard, strong.
        trials: Networks to score.
        population: Networks of a generation of NSGA-II.
        val_fraction: Share of each class set aside for validation, where the data has no such part.
        test_fraction: Share of each class set aside for the test, where the data is not split.
        split_seed: Seed of these splits; later trainings with the same one have the same test set.
        seed: Seed of the supernet, of the sampling and of the search.
        workers: Image-loading processes; by default by the machine.
        precision: Arithmetic of the supernet; auto takes bfloat16 where a GPU has it, and 32 bits elsewhere.
        storage: Where Optuna keeps the trials, as a database's address (mysql://…, postgresql://…), by the name of the
            folder; by default a SQLite file in it.
        json: Print search.json instead of a table.
    """

    data: str | None = None
    budget_macs: float | None = None
    budget_ms: float | None = None
    output: str | None = None
    start: str | None = None
    budget_params: float | None = None
    budget_mb: float | None = None
    runtime: Literal["pytorch", "onnxruntime", "openvino"] = "pytorch"
    data_root: str = "data"
    image_size: int | None = None
    epochs: int = 50
    batch_size: int = 64
    lr: float = 3e-3
    augment: Literal["none", "crop", "crop-flip", "standard", "strong"] = "standard"
    trials: int = 500
    population: int = 50
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0
    seed: int = 0
    workers: int | None = None
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    storage: str | None = None
    json: bool = False
