"""What a search writes: the winner's backbone file and weights, ``search.json``, ``report.html`` and the figures."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixtransfer.backbones.describe import describe_backbone
from mixtransfer.classification.model import model_bytes
from mixtransfer.common.files import write_atomic
from mixtransfer.data.dataset import ImageDataset
from mixtransfer.report.circumstances import add_circumstances
from mixtransfer.report.figures import save_figures
from mixtransfer.report.page import Page
from mixtransfer.search.figures import kernel_shares, kernels_by_depth, loss_against_cost
from mixtransfer.search.latency import LatencyModel, latencies
from mixtransfer.search.options import SearchOptions
from mixtransfer.search.ranking import FEWEST, RELIABLE, Predictor, rank_correlation, reliability
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
    latency: LatencyModel | None = None,
) -> None:
    """Write everything into the search's folder.

    The winner is the network of the least log loss within the budget; where the ranking is mostly chance, none is.

    Args:
        latency: By which latencies were estimated; the front is measured, and its winner is within the budget so too.
    """
    assert options.budget_macs
    best = front(candidates)
    data = re.sub(r"[^A-Za-z0-9_-]+", "-", dataset.name)[:30]
    ranking = _ranking(space, candidates)
    shared = {
        "data": options.data,
        "classes": len(dataset.classes),
        "budget_macs": options.budget_macs,
        "networks_scored": len(candidates),
        "seed": options.seed,
    }
    (folder / "front").mkdir(exist_ok=True)
    before = {*(folder / "front").iterdir()}
    described = [_described(one, space, options) for one in best]
    within = len(best)  # of the front, the last of which is the best
    if options.budget_ms and latency:
        whole = latencies([space.architecture(one.decisions) for one in best], options.runtime, space.num_classes)
        described = [{**one, "ms_measured": round(1000 * took, 3)} for one, took in zip(described, whole, strict=True)]
        within = max((i for i, took in enumerate(whole, 1) if 1000 * took <= options.budget_ms), default=0)
        ranking = {**ranking, "latency_error": latency.error, "latency_worst": latency.worst}
    named = [
        replace(space.architecture(one.decisions), name=f"{data}-{one.macs / 1e6:.3g}M-{i}")
        for i, one in enumerate(best, 1)
    ]
    for architecture, about in zip(named, described, strict=True):
        text = _json({**architecture.to_dict(), "about": {**about, **shared}})
        write_atomic(folder / "front" / f"{architecture.name}.json", text)
    winner = None
    (folder / "search.json").unlink(missing_ok=True)
    if is_reliable(ranking) and within:
        architecture = replace(named[within - 1], name=f"{data}-{options.budget_macs / 1e6:.3g}M")
        text = _json({**architecture.to_dict(), "about": {**described[within - 1], **shared}})
        write_atomic(folder / "backbone.json", text)
        write_atomic(folder / "backbone.safetensors", model_bytes(scorer.network(architecture)))
        winner = {**described[within - 1], "name": architecture.name}
    else:
        before |= {folder / "backbone.json", folder / "backbone.safetensors"}
    chosen = best[within - 1] if winner else None
    _write_page(folder, options, dataset, space, scorer, candidates, best, chosen, ranking, described)
    found = {
        "image_size": options.image_size,
        "validation_images": scorer.images,
        "networks_scored": len(candidates),
        "ranking": ranking,
        "winner": winner,
        "front": described,
    }
    for old in before - {folder / "front" / f"{architecture.name}.json" for architecture in named}:
        old.unlink(missing_ok=True)
    write_atomic(folder / "search.json", _json(found))  # last: where it is, the rest is whole


def _ranking(space: Space, candidates: Sequence[Candidate]) -> dict[str, float | None]:
    """How far the ranking can be trusted, and what else would rank like it."""
    losses = [one.score.loss for one in candidates]
    few = len(candidates) < FEWEST
    predictor = None if few else Predictor(space, [one.decisions for one in candidates], losses).rho
    fewer_macs = None if few else rank_correlation([-one.macs for one in candidates], losses)
    return {
        "reliability": reliability([one.score.thirds for one in candidates]),
        "predictor": predictor,
        "macs": fewer_macs,
    }


def is_reliable(ranking: Mapping[str, float | None]) -> bool:
    """Whether a winner may be named; of few networks it is not known, and the best of them is."""
    known = ranking["reliability"]
    return known is None or known >= RELIABLE


def how_to_train(folder: Path, options: SearchOptions) -> str:
    """The command that trains the winner on the search's own split."""
    usual, words = SearchOptions(), []
    for name in ("val_fraction", "test_fraction", "split_seed"):
        if (value := getattr(options, name)) != getattr(usual, name):
            words.append(f"--{name.replace('_', '-')} {value}")
    weights = folder / "backbone.safetensors" if options.start else "none"
    command = f"mixtransfer classify train {options.data} --backbone {folder / 'backbone.json'} --weights {weights}"
    return " ".join([command, *words])


def in_words(ranking: Mapping[str, float | None]) -> str:
    """What ``search.json`` says of the ranking."""
    known = ranking["reliability"]
    if known is None:
        return (
            "Too few networks were scored, or on too few images, to tell how much of the ranking is chance: more "
            "--trials or validation images."
        )
    words = f"Reliability of the ranking among the better half: {known:.2f} (1: none of it is chance)."
    if is_reliable(ranking):
        return words
    return f"{words} These networks cannot be told apart, so none is a winner: more validation images or --epochs."


def _described(candidate: Candidate, space: Space, options: SearchOptions) -> dict:
    ms = {"ms": round(1000 * candidate.cost, 3)} if options.budget_ms else {}
    architecture = space.architecture(candidate.decisions)
    return {
        "loss": candidate.score.loss,
        "loss_error": candidate.score.error,
        "top1": candidate.score.top1,
        "macs": candidate.macs,
        "params": architecture.parameters(space.num_classes),
        **ms,
        "blocks": architecture.blocks,
    }


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
    winner: Candidate | None,
    ranking: Mapping[str, float | None],
    described: Sequence[Mapping[str, Any]],
) -> None:
    assert options.budget_macs
    shown = winner or best[-1]
    architecture = space.architecture(shown.decisions)
    label, unit = ("latency of one image (ms)", 1e-3) if options.budget_ms else ("multiply-adds (millions)", 1e6)
    ranked = sorted(candidates, key=lambda one: one.score.loss)
    chosen = "winner" if winner else "the last of the front"
    tenth = ranked[: max(1, len(ranked) // BEST_SHARE)]
    drawn = {
        "front": loss_against_cost(candidates, best, winner, label, unit),
        "kernel_shares": kernel_shares(architecture),
        "kernels_by_depth": kernels_by_depth(
            {
                chosen: [architecture],
                "best tenth": [space.architecture(one.decisions) for one in tenth],
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
            (chosen.capitalize(), f"{100 * shown.score.top1:.1f} %", "validation, shared weights"),
            ("Multiply-adds", f"{shown.macs / 1e6:.3g}M", f"of {options.budget_macs / 1e6:.3g}M allowed"),
            (
                "Parameters",
                f"{architecture.parameters(space.num_classes) / 1e6:.3g}M",
                f"{len(dataset.classes)} classes",
            ),
        ]
    )
    advice = f"What the winner is worth a training of its own shows: {how_to_train(folder, options)}"
    page.note(
        "The scores here rank networks; they are those of the best of many, and shared weights are worse than a "
        f"network's own. {in_words(ranking)} {advice if winner else ''}"
    )
    page.section("Log loss against cost")
    page.figure(
        drawn["front"],
        "Every network scored; the line joins what no cheaper network beats. Differences between networks, which "
        "are of the same images, are more certain than the intervals of each look.",
    )
    page.section(
        "What ranks like the supernet",
        "Rank correlations with the log loss of the networks scored. The predictor is a regression on what was "
        "chosen, tried on networks that it was not fitted on; from the middle of the search on it proposes every "
        "other network. Where multiply-adds alone say as much, the search has found little beside them.",
    )
    rows = [("predictor", ranking["predictor"]), ("multiply-adds, more is better", ranking["macs"])]
    page.table(["", "Spearman's ρ"], [[name, "–" if rho is None else f"{rho:.2f}"] for name, rho in rows])
    page.section(
        "Whom it must beat",
        f"The MixNets of the paper for images of {space.image_size} pixels, with {len(dataset.classes)} classes. They "
        "have ImageNet weights; compare trains them and the found network alike.",
    )
    page.table(["", "multiply-adds (millions)", "parameters (millions)"], _rivals(space))
    page.section(
        "Kernels by depth",
        "The paper's Figure 8: MixNet has small kernels early, to save computation, and large ones late.",
    )
    page.figure(
        drawn["kernel_shares"], f"{chosen.capitalize()}: share of the channels that each kernel size has, by layer."
    )
    page.figure(
        drawn["kernels_by_depth"],
        "Mean side of the kernels by stage, with standard errors; the first stage is fixed. Where the best "
        "networks do not differ from all, the search has found no preference.",
    )
    page.section("The front")
    measured = ["measured (ms)"] if options.budget_ms else []
    columns = ["log loss", "validation %", label, *measured, "kernels, expansion and squeeze-excite of each block"]
    listed = [
        [
            f"{one.score.loss:.3f} ± {one.score.error:.3f}",
            f"{100 * one.score.top1:.1f}",
            f"{one.cost / unit:.3g}",
            *([f"{said['ms_measured']:.3g}"] if measured else []),
            _in_short(space, one),
        ]
        for one, said in zip(best, described, strict=True)
    ]
    if measured:
        page.note(
            f"Latencies are estimated within {100 * (ranking['latency_error'] or 0):.0f} % (at worst "
            f"{100 * (ranking['latency_worst'] or 0):.0f} %) of networks that the estimate was not made of; those of "
            "the front were measured too, and a winner is within the budget by that."
        )
    page.table(columns, listed)
    page.code(_json(architecture.to_dict()), f"{chosen.capitalize()} as a backbone file")
    add_circumstances(page, options, {}, dataset.skipped, ["optuna"])
    page.write(folder / "report.html")


def _rivals(space: Space) -> list[list[str]]:
    """Cost of the paper's MixNets for the same images and classes."""
    rows = []
    for name in ("mixnet_s", "mixnet_m", "mixnet_l"):
        network = describe_backbone(name)
        macs = network.macs(space.image_size, space.num_classes)
        rows.append([name, f"{macs / 1e6:.3g}", f"{network.parameters(space.num_classes) / 1e6:.3g}"])
    return rows


def _in_short(space: Space, candidate: Candidate) -> str:
    stages = space.architecture(candidate.decisions).blocks[1:]
    return " | ".join(" ".join(_open_part(block) for block in stage) for stage in stages)


def _open_part(block: str) -> str:
    """What the search chose of a block: ``ir_r1_k3.5_s1_e6_c40_se0.25_nsw`` is k3.5_e6_c40_se0.25."""
    return "_".join(part for part in block.split("_") if part[0] in "kec" or part.startswith("se"))
