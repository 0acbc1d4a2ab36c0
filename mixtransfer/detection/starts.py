"""What a detector's training begins with: another detector, published or trained here, whose classes go by name."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import safetensors.torch
import torch
from safetensors import SafetensorError

from mixtransfer.backbones.registry import BackboneSpec, backbone_spec
from mixtransfer.backbones.weights import read_state_dict
from mixtransfer.detection import torchvision_weights
from mixtransfer.detection.model import read_detector_card
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.published_files import check_digest, fetch
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.errors import UserError
from mixtransfer.runs.run import Run

if TYPE_CHECKING:
    from mixtransfer.detection.ssdlite.head import SSDLiteHead
    from mixtransfer.detection.ssdlite.model import SSDLite

USUAL_BACKBONE = "mixnet_s"  # where nothing says another
INHERITED = ("aspect_ratios", "box_weights", "pixel_mean", "pixel_std", "norm_eps")  # that no option says
_LOGITS = re.compile(r"head\.classes\.\d+\.1\.(weight|bias)")  # rows of anchors, and of logits within


@dataclass(frozen=True)
class PublishedDetector:
    """A detector that others have published.

    Attributes:
        url: Of its file, whose name ends with the beginning of its SHA-256, as PyTorch's hub has it.
        backbone, spec: Its architecture; see ``Start``.
        classes: See ``Start``.
        license: Of the weights, as the Hugging Face hub names licences: "other" has no name there.
        fits: Whether tensors by name are of such a detector, to go by their names.
        convert: From its tensors, and what holds them, to those of an ``SSDLite``; raises UserError where they do not
            fit.
    """

    url: str
    backbone: str
    spec: DetectorSpec
    classes: Sequence[str | None]
    license: str
    fits: Callable[[Mapping[str, torch.Tensor]], bool]
    convert: Callable[[Mapping[str, torch.Tensor], str], dict[str, torch.Tensor]]


STARTS = {
    # torchvision names no licence of its weights: terms may follow from the data set, says its README.
    "coco": PublishedDetector(
        torchvision_weights.COCO.url,
        torchvision_weights.BACKBONE,
        torchvision_weights.SPEC,
        torchvision_weights.coco_classes(),
        "other",
        torchvision_weights.is_torchvisions,
        torchvision_weights.from_torchvision,
    ),
}


@dataclass(frozen=True)
class Start:
    """A detector to begin with.

    Attributes:
        name: What ``--weights`` says.
        backbone: Its network.
        spec: What it is built by beside that.
        classes: Names in the order of its logits, without background; None is a logit whose class is not known.
        state: Its tensors, as an ``SSDLite`` has them.
        license: Of its weights, None if that is not known.
    """

    name: str
    backbone: BackboneSpec
    spec: DetectorSpec
    classes: Sequence[str | None]
    state: Mapping[str, torch.Tensor]
    license: str | None = None

    def describe(self) -> dict[str, str]:
        """As ``describe_start`` has it of a body's weights."""
        name = self.name if self.name in STARTS else Path(self.name).name
        return {"weights": name, **({"license": self.license} if self.license else {})}


def find_start(weights: str) -> Start | None:
    """The detector that ``--weights`` names; None if it names a body's weights. A published one is fetched.

    Raises:
        UserError: It is missing, damaged, of another architecture, cannot be fetched, or has another SHA-256 than its
            name says.
    """
    if weights in ("imagenet", "none"):
        return None
    if weights in STARTS:
        if Run.is_run(weights) or Path(weights).is_file():
            raise UserError(
                f"--weights {weights} is a published detector, and there is a {weights} here too: write ./{weights} "
                "for that, or go elsewhere for the published one."
            )
        return _of_file(STARTS[weights], weights, read_state_dict(fetch(weights, STARTS[weights].url)))
    if Run.is_run(weights):
        return _of_run(Run(Path(weights)))
    check_digest(Path(weights))
    state = {re.sub(r"^(module|model)\.", "", name): tensor for name, tensor in read_state_dict(weights).items()}
    for start in STARTS.values():
        if start.fits(state):
            return _of_file(start, weights, state)
    return None


def _of_file(start: PublishedDetector, name: str, tensors: Mapping[str, torch.Tensor]) -> Start:
    """A file of a published detector's kind: that one itself, or one whose classes go by number alone."""
    state = start.convert(tensors, name)
    anchors = len(state["head.boxes.0.1.bias"]) // 4
    count = len(state["head.classes.0.1.bias"]) // anchors - (start.spec.loss == "cross_entropy")
    classes = start.classes if count == len(start.classes) else [None] * count
    published = name in STARTS or Path(name).name == Path(start.url).name
    terms = start.license if published else None
    return Start(name, backbone_spec(start.backbone), start.spec, classes, state, terms)


def _of_run(run: Run) -> Start:
    card, spec, _ = read_detector_card(run.model)
    try:
        state = safetensors.torch.load_file(run.weights)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{run.weights} is missing or damaged.") from error
    return Start(str(run.folder), card.spec, spec, card.classes, state)


def with_start(options: TrainOptions, start: Start | None) -> TrainOptions:
    """Options with what a detector that they start from has of its own, which its weights are of no use without.

    Raises:
        UserError: They ask for another network.
    """
    if start is None:
        return replace(options, backbone=USUAL_BACKBONE) if options.backbone == "auto" else options
    its = start.backbone
    if options.backbone == "auto" and its.architecture:
        raise UserError(f"{start.name} is of the backbone file {its.name}: name the file with --backbone.")
    if options.backbone != "auto" and _network(backbone_spec(options.backbone)) != _network(its):
        raise UserError(
            f"--weights {start.name} is a detector with another backbone, {its.name}, than --backbone "
            f"{options.backbone}: leave --backbone out, or choose other weights."
        )
    if start.spec.tap != "auto" and options.tap not in ("auto", start.spec.tap):
        raise UserError(
            f"--weights {start.name} is a detector with the tap {start.spec.tap}: leave --tap {options.tap} out."
        )
    usual = DetectorSpec()
    own = {name: start.spec.to_dict()[name] for name in INHERITED if getattr(start.spec, name) != getattr(usual, name)}
    return replace(
        options,
        backbone=its.name if options.backbone == "auto" else options.backbone,
        tap=start.spec.tap if options.tap == "auto" else options.tap,
        recipe={**own, **(options.recipe or {})} if own else options.recipe,
    )


def _network(spec: BackboneSpec) -> tuple:
    """What the shapes of its tensors depend on."""
    own = spec.architecture and (spec.architecture.stem, spec.architecture.blocks)
    return spec.timm_name, spec.kernel_sizes, spec.partition, spec.dilated, spec.layer, spec.hard_swish, own


def load_start(model: "SSDLite", start: Start, classes: Sequence[str], loss: str) -> list[str]:
    """Fill a detector with another one: all of it but the class logits, and of these the rows of the classes that go by
    the same name, and of the background. Logits of another loss mean something else, and are none of them taken.

    Args:
        model: The detector, of ``classes``.
        start: The other detector.
        classes: Names in label order.
        loss: See ``TrainOptions``.

    Returns:
        The names of the classes that are known.

    Raises:
        UserError: The other network does not fit.
    """
    known = same_names(classes, start.classes) if start.spec.loss == loss else {}
    background = cast("SSDLiteHead", model.head).num_logits - len(classes)  # 1, or 0 for focal loss
    mine, theirs = list(known), list(known.values())
    if background:
        mine, theirs = [*mine, len(classes)], [*theirs, len(start.classes)]
    own = model.state_dict()
    state = dict(start.state)
    for name, value in own.items():
        if _LOGITS.fullmatch(name):
            rows = value.unflatten(0, (-1, len(classes) + background)).clone()
            other = state.get(name, value[:0])
            if start.spec.loss == loss and len(other) == len(rows) * (len(start.classes) + background):
                rows[:, mine] = other.unflatten(0, (len(rows), -1))[:, theirs].to(rows)
            elif start.spec.loss == loss:
                raise UserError(f"{start.name} holds a detector with other anchors: give the same ones.")
            state[name] = rows.flatten(0, 1)
        elif name not in state or state[name].shape != value.shape:
            raise UserError(f"{start.name} holds a detector with another backbone or tap: give the same ones.")
    model.load_state_dict({name: state[name] for name in own})
    return [classes[label] for label in known]


def same_names(classes: Sequence[str], others: Sequence[str | None]) -> dict[int, int]:
    """Which classes go by the name of another detector's: {label: its label}.

    Names are the same if they are equal, or else if they differ in case, in the kind of space between words or in how
    Unicode writes a letter, and no two of ``others`` do so.

    Examples:
        >>> same_names(["Traffic_Light", "gnu", "dog"], ["dog", None, "traffic light"])
        {0: 2, 2: 0}
    """
    found = {}
    folded = [None if name is None else _folded(name) for name in others]
    for label, name in enumerate(classes):
        if others.count(name) == 1:
            found[label] = others.index(name)
        elif folded.count(_folded(name)) == 1:
            found[label] = folded.index(_folded(name))
    return found


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()
