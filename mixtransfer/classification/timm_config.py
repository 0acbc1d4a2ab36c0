"""A Run as timm opens it."""

import json
from pathlib import Path
from typing import Any

from mixtransfer.backbones.create import has_one_size
from mixtransfer.common.files import write_atomic
from mixtransfer.runs.model_card import CLASSIFIERS, ModelCard
from mixtransfer.runs.run import Run


def timm_config(card: ModelCard) -> dict[str, Any] | None:
    """The ``config.json`` by which timm opens a classifier's folder; None of networks that timm does not know.

    With it ``timm.create_model("local-dir:RUN")``, or "hf-hub:USER/NAME", has the same logits.
    """
    spec, seen = card.spec, card.preprocessing
    if card.task not in CLASSIFIERS or spec.architecture or spec.kernel_sizes or spec.hard_swish:
        return None
    side = seen["size"]
    config: dict[str, Any] = {
        "architecture": spec.timm_name,
        "num_classes": len(card.classes),
        "label_names": card.classes,
        "pretrained_cfg": {
            "num_classes": len(card.classes),
            "input_size": [3, side, side],
            "crop_pct": seen["crop"],
            "crop_mode": seen["crop_mode"],
            "interpolation": seen["interpolation"],
            "mean": seen["mean"],
            "std": seen["std"],
        },
    }
    if has_one_size(spec):
        config["model_args"] = {"img_size": side}
    return config


def write_timm_config(run: Run, folder: Path | None = None) -> None:
    """Write ``config.json`` beside a classifier's weights, or to another folder, if timm knows the network."""
    if config := timm_config(ModelCard.read(run.model)):
        write_atomic((folder or run.folder) / "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")
