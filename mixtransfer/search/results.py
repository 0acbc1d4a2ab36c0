"""What a search writes: the winner's backbone file and weights, ``search.json``, ``report.html`` and the figures."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mixtransfer.backbones import Architecture, count_parameters
from mixtransfer.classification.model import model_bytes
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.files import write_atomic
from mixtransfer.report.circumstances import add_circumstances
from mixtransfer.report.figures import save_figures
from mixtransfer.report.page import Page
from mixtransfer.search.figures import accuracy_against_cost, kernel_shares, kernels_by_depth
from mixtransfer.search.options import SearchOptions
from mixtransfer.search.scoring import Scorer
from mixtransfer.search.space import Space
from mixtransfer.search.study import Candidate, front

BEST_SHARE = 10  # the figure of kernels shows the best tenth beside all


def write_results(
    folder: Path,
    options: SearchOptions,
    dataset: ImageDataset,
    space: Space,
    scorer: Scorer,
    candidates: Sequence[Candidate],
) -> None:
    """Write everything into the search's folder; the winner is the most accurate network within the budget."""
    best = front(candidates)
    winner = best[-1]
    data = re.sub(r"[^A-Za-z0-9_-]+", "-", dataset.name)[:30]
    architecture = replace(space.architecture(winner.decisions), name=f"{data}-{options.budget_macs / 1e6:.3g}M")
    network = scorer.network(architecture)
    about = {
        **_described(winner, space, options),
        "params": count_parameters(network),
        "data": options.data,
        "classes": len(dataset.classes),
        "budget_macs": options.budget_macs,
        "networks_scored": len(candidates),
        "seed": options.seed,
    }
    write_atomic(folder / "backbone.json", _json({**architecture.to_dict(), "about": about}))
    write_atomic(folder / "backbone.safetensors", model_bytes(network))
    _write_page(folder, options, dataset, space, scorer, candidates, best, architecture, about)
    found = {
        "image_size": options.image_size,
        "validation_images": scorer.images,
        "networks_scored": len(candidates),
        "winner": {**_described(winner, space, options), "name": architecture.name, "params": about["params"]},
        "front": [_described(one, space, options) for one in best],
    }
    write_atomic(folder / "search.json", _json(found))  # last: where it is, the rest is whole


def _described(candidate: Candidate, space: Space, options: SearchOptions) -> dict:
    ms = {"ms": round(1000 * candidate.cost, 3)} if options.budget_ms else {}
    blocks = space.architecture(candidate.decisions).blocks
    return {"top1": candidate.top1, "macs": candidate.macs, **ms, "blocks": blocks}


def _json(values: dict) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _write_page(
    folder: Path,
    options: SearchOptions,
    dataset: ImageDataset,
    space: Space,
    scorer: Scorer,
    candidates: Sequence[Candidate],
    best: Sequence[Candidate],
    architecture: Architecture,
    about: dict,
) -> None:
    label, unit = ("latency of one image (ms)", 1e-3) if options.budget_ms else ("multiply-adds (millions)", 1e6)
    ranked = sorted(candidates, key=lambda one: -one.top1)
    tenth = ranked[: max(1, len(ranked) // BEST_SHARE)]
    drawn = {
        "front": accuracy_against_cost(candidates, best, best[-1], label, unit),
        "kernel_shares": kernel_shares(architecture),
        "kernels_by_depth": kernels_by_depth(
            {
                "winner": [architecture],
                "most accurate tenth": [space.architecture(one.decisions) for one in tenth],
                "all": [space.architecture(one.decisions) for one in candidates],
            }
        ),
    }
    save_figures(drawn, folder / "figures")
    page = Page(
        f"Search on {dataset.name}",
        f"{len(candidates)} networks of the MixNet space at {options.image_size} pixels, scored on {scorer.images:,} "
        f"validation images with the weights of a supernet that {len(dataset.train):,} images trained for "
        f"{options.epochs} epochs. The test set was not touched.",
    )
    page.headline(
        [
            ("Winner", f"{100 * best[-1].top1:.1f} %", "validation, shared weights"),
            ("Multiply-adds", f"{about['macs'] / 1e6:.3g}M", f"of {options.budget_macs / 1e6:.3g}M allowed"),
            ("Parameters", f"{about['params'] / 1e6:.3g}M", f"{about['classes']} classes"),
        ]
    )
    page.note(
        "The accuracies here rank networks; they are chosen as the best of many, and shared weights are worse than a "
        "network's own. What the winner is worth a training of its own shows: "
        f"mixtransfer classify train {options.data} --backbone {folder / 'backbone.json'} --weights none"
    )
    page.section("Accuracy against cost")
    page.figure(drawn["front"], "Every network scored; the line joins what no cheaper network beats.")
    page.section(
        "Kernels by depth",
        "The paper's Figure 8: MixNet has small kernels early, to save computation, and large ones late.",
    )
    page.figure(drawn["kernel_shares"], "The winner: share of the channels that each kernel size has, by layer.")
    page.figure(
        drawn["kernels_by_depth"],
        "Mean side of the kernels by stage, with standard errors; the first stage is fixed. Where the most accurate "
        "networks do not differ from all, the search has found no preference.",
    )
    page.section("The front")
    columns = ["validation %", label, "kernels, expansion and squeeze-excite of each block"]
    page.table(columns, [[f"{100 * one.top1:.1f}", f"{one.cost / unit:.3g}", _in_short(space, one)] for one in best])
    page.code(_json(architecture.to_dict()), "The winner, backbone.json")
    add_circumstances(page, options, {}, dataset.skipped, ["optuna"])
    page.write(folder / "report.html")


def _in_short(space: Space, candidate: Candidate) -> str:
    stages = space.architecture(candidate.decisions).blocks[1:]
    return " | ".join(" ".join(_open_part(block) for block in stage) for stage in stages)


def _open_part(block: str) -> str:
    """What the search chose of a block: ``ir_r1_k3.5_s1_e6_c40_se0.25_nsw`` is k3.5_e6_c40_se0.25."""
    return "_".join(part for part in block.split("_") if part[0] in "kec" or part.startswith("se"))
