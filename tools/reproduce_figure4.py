"""Figure 4 of the paper: MobileNetV1 and V2 with larger depthwise kernels, and with MixConv of 1 to 6 groups.

    python tools/reproduce_figure4.py --data-root DIR --datasets food101         # each network from scratch, 3 seeds
    python tools/reproduce_figure4.py --data-root DIR --tiny                     # minutes on a CPU: a few, one epoch

The paper trains on ImageNet; give that as an image folder, or any dataset of yours. Both networks are a study of their
own under --output, and what is finished is not repeated. Further words go to every `mixtransfer compare`.
"""

from studies import arguments, compare

NETWORKS = {"v1": "mobilenetv1_100", "v2": "mobilenetv2_100"}
TINY = "--seeds 1 --epochs 1 --image-size 64 --rounds 3"
TINY_KERNELS = ("", ".depthwise7x7", ".mixconv357")


def main() -> None:
    known, more = arguments(__doc__, "runs/figure4", ("food101",))
    for dataset in known.datasets:
        for version, network in NETWORKS.items():
            words = [dataset, "--config", f"configs/comparison/figure4_{version}.yaml", "--data-root", known.data_root]
            words += ["--output", f"{known.output}/{dataset.strip('/').replace('/', '-')}-{version}"]
            if known.tiny:
                words += [*TINY.split(), "--backbones", ",".join(network + kernels for kernels in TINY_KERNELS)]
            compare([*words, *more])


if __name__ == "__main__":
    main()
