"""Table 1 of the paper: SSDLite on MobileNetV1 and V2 with larger depthwise kernels and with MixConv, on COCO.

    python tools/reproduce_table1.py --data-root DIR           # the whole study: GPUs, COCO 2017, weeks
    python tools/reproduce_table1.py --data-root DIR --tiny    # minutes on a CPU: two networks, a few iterations

It is `mixtransfer compare coco --config configs/comparison/table1.yaml`. What is finished is not repeated. Further
words go to `mixtransfer compare`.
"""

from studies import arguments, compare

TINY = (
    "--backbones mobilenetv2_100,mobilenetv2_100.mixconv357 --iterations 20 --batch-size 4 --image-size 128 --rounds 3"
)


def main() -> None:
    known, more = arguments(__doc__, "runs/table1", ("coco",))
    for dataset in known.datasets:
        words = [dataset, "--config", "configs/comparison/table1.yaml", "--data-root", known.data_root]
        words += ["--recipe", "configs/detection/ssdlite_mobilenetv2_100_coco.py"]  # from any folder
        compare([*words, "--output", known.output, *(TINY.split() if known.tiny else []), *more])


if __name__ == "__main__":
    main()
