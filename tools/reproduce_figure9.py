"""Figure 9 of the paper: MixNets and ResNet-50 on CIFAR-10, CIFAR-100, Oxford-IIIT Pets and Food-101.

    python tools/reproduce_figure9.py --data-root DIR           # the whole study: GPUs, the model hub, days
    python tools/reproduce_figure9.py --data-root DIR --tiny    # minutes on a CPU: small images, one epoch, no weights

Each dataset is a study of its own, `mixtransfer compare DATASET --config configs/comparison/figure9.yaml`, in a folder
under --output. What is finished is not repeated. Further words go to every `mixtransfer compare`.
"""

from studies import arguments, compare

DATASETS = ("cifar10", "cifar100", "pets", "food101")
TINY = "--backbones mixnet_s,resnet50 --seeds 1 --epochs 1 --image-size 64 --weights none --rounds 3"


def main() -> None:
    known, more = arguments(__doc__, "runs/figure9", DATASETS)
    for dataset in known.datasets:
        words = [dataset, "--config", "configs/comparison/figure9.yaml", "--output", f"{known.output}/{dataset}"]
        compare([*words, "--data-root", known.data_root, *(TINY.split() if known.tiny else []), *more])


if __name__ == "__main__":
    main()
