"""Whether latencies repeat: `mixtransfer compare` measures them in turns, here twice, one after the other.

    python tools/bench_latency.py --backbones mixnet_s,mobilenetv3_large_100,resnet50

Prints for each backbone and runtime the medians of both measurements in milliseconds and their ratio, the largest
deviation of a ratio from 1 in percent, and whether the order of the backbones is the same.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from mixtransfer.backbones import create_backbone
from mixtransfer.common.process import keep_freed_memory
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.deploy.latency import measure
from mixtransfer.deploy.runtimes import MEASURED, RUNTIMES
from mixtransfer.deploy.runtimes.base import example_input
from mixtransfer.deploy.source import Source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", default="mixnet_s,mobilenetv3_large_100,efficientnet_lite0,resnet50")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    keep_freed_memory()
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    threads = torch.get_num_threads()
    for name in options.backbones.split(","):
        model = create_backbone(name, weights="none").eval()
        source = Source(None, "classification", name, model, Preprocessing(options.image_size), ["class"])
        for runtime in (RUNTIMES[key] for key in MEASURED if RUNTIMES[key].installed):
            with tempfile.TemporaryDirectory() as folder:
                call = runtime.prepare(source, threads, Path(folder))
            calls[name, runtime.name] = partial(call, example_input(source, 1))
    first, second = (
        {key: 1000 * duration.median for key, duration in measure(calls, options.rounds).items()} for _ in range(2)
    )
    ratios = {key: second[key] / first[key] for key in calls}
    result = {
        "ms": {" ".join(key): [round(first[key], 2), round(second[key], 2), round(ratios[key], 3)] for key in calls},
        "largest_deviation_percent": round(100 * max(abs(ratio - 1) for ratio in ratios.values()), 1),
        "same_order": sorted(calls, key=lambda key: first[key]) == sorted(calls, key=lambda key: second[key]),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
