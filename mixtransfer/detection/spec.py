"""All that makes a detector the one it is, beside its backbone, classes and weights: the one place of its defaults."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

from mixtransfer.data.detection import Resize
from mixtransfer.detection.tiling import LARGEST_OVERLAP, LARGEST_TILE, SMALLEST_TILE, Tiling, as_tiling
from mixtransfer.errors import UserError

if TYPE_CHECKING:
    from mixtransfer.data.detection.square import Square

Tap = Literal["auto", "expanded", "stage"]
LossName = Literal["cross_entropy", "focal"]

USUAL_SCALES = 0.2, 0.95  # SSD's
LARGEST_SIZE = 4096  # pixels
LARGEST_MOST = 10_000  # detections of an image
ALL = 1_000_000  # more anchors than there are


@dataclass(frozen=True)
class DetectorSpec:
    """What an SSDLite is built by and how it is used. Options, recipes, CfgNodes and ``model.json`` all fill it.

    Attributes:
        image_size: Side of the square that it is shown, in pixels.
        resize: How an image becomes that square, see ``Square``.
        tap: Where the map at stride 16 is taken, see ``SSDLiteBackbone``; auto: expanded where the network has it.
        anchors: Scales of the anchors in shares of the image: of the finest and of the coarsest map, between which they
            go evenly; or of the finest, the second and the coarsest.
        aspect_ratios: Of the anchors, beside 1.
        match_iou: IoU from which an anchor answers for a box.
        box_weights: Of the box deltas, see detectron2's ``Box2BoxTransform``.
        loss: Of the classes, see ``ssdlite.losses``.
        negative_ratio: Negatives for each positive anchor in ``cross_entropy``.
        focal_alpha, focal_gamma, focal_prior: Of ``focal``.
        pixel_mean, pixel_std: Of RGB values between 0 and 255; None: what the backbone expects.
        norm_eps: Of the backbone's batch norms; None: the backbone's own.
        min_score: Detections score more than this.
        nms: A detection is dropped if its IoU with a better one is larger.
        class_agnostic: Whether that better one may be of another class.
        candidates_per_class: Anchors of each class that go through suppression; None: 300, or all, where more than 100
            detections are asked for: these are then found if they are there.
        max_detections: Detections of an image at most; COCO counts 100.
        tiles, overlap: How images were cut in training, see ``as_tiling``.
        thresholds: The score from which a class is shown, by name; None: one for all.
    """

    image_size: int = 320
    resize: Resize = "warp"
    tap: Tap = "auto"
    anchors: tuple[float, ...] = USUAL_SCALES
    aspect_ratios: tuple[float, ...] = (2.0, 3.0)
    match_iou: float = 0.5
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    loss: LossName = "cross_entropy"
    negative_ratio: float = 3
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    focal_prior: float = 0.01
    pixel_mean: tuple[float, float, float] | None = None
    pixel_std: tuple[float, float, float] | None = None
    norm_eps: float | None = None
    min_score: float = 0.001
    nms: float = 0.55
    class_agnostic: bool = False
    candidates_per_class: int | None = None
    max_detections: int = 100
    tiles: int | None = None
    overlap: float | None = None
    thresholds: dict[str, float] | None = None

    @property
    def square(self) -> "Square":
        from mixtransfer.data.detection.square import Square

        return Square(self.image_size, self.resize)

    @property
    def tiling(self) -> Tiling | None:
        return as_tiling(self.tiles, self.overlap)

    @property
    def candidates(self) -> int:
        """Anchors of each class that go through suppression."""
        return self.candidates_per_class or (300 if self.max_detections <= 100 else ALL)

    @classmethod
    def of_options(cls, options: Any) -> "DetectorSpec":
        """What the options of ``detect train`` ask for; the scales of the anchors must be settled.

        Raises:
            UserError: A value is none.
        """
        values = {**vars(options), "anchors": read_scales(options.anchors), **(options.recipe or {})}
        return cls.from_dict({name: values[name] for name in FIELDS if name in values}, "The recipe")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> "DetectorSpec":
        """A description of some of the fields, checked; lists stand for tuples.

        Args:
            source: What it is read from, to begin a sentence with.

        Raises:
            UserError: A value is of the wrong kind or out of range.
        """
        for name, value in values.items():
            if not _CHECKS[name](value):
                raise UserError(f"{source} is not a detector's description: {name} is missing or wrong.")
        made: dict[str, Any] = dict(values)
        made |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**made)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the inverse of ``from_dict``."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def changed(self, **values: Any) -> "DetectorSpec":
        """The same with the values that are not None."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})


FIELDS = tuple(field.name for field in fields(DetectorSpec))


def _number(low: float, high: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and low <= value <= high and math.isfinite(value)


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _numbers(check: Callable[[Any], bool], least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and least <= len(value) <= most and all(map(check, value))


def _thresholds(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) and _number(0, 1)(one) for key, one in value.items())


def are_scales(value: Any) -> bool:
    """Whether something is the scales of anchors: two or three numbers, 0.01 ≤ finest < (second <) coarsest ≤ 1."""
    return _numbers(_number(0.01, 1), 2, 3)(value) and all(fine < coarse for fine, coarse in pairwise(value))


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "image_size": _whole(1, LARGEST_SIZE),
    "resize": lambda value: value in get_args(Resize),
    "tap": lambda value: value in get_args(Tap),
    "anchors": are_scales,
    "aspect_ratios": _numbers(_number(1, 20), 0, 10),
    "match_iou": _number(0, 1),
    "box_weights": _numbers(_number(1e-6, 1e6), 4, 4),
    "loss": lambda value: value in get_args(LossName),
    "negative_ratio": _number(0),
    "focal_alpha": _number(-1, 1),  # -1: torchvision's for no weight
    "focal_gamma": _number(0),
    "focal_prior": lambda value: _number(0, 1)(value) and 0 < value < 1,
    "pixel_mean": _or_none(_numbers(_number(-1e6), 3, 3)),
    "pixel_std": _or_none(_numbers(_number(1e-6), 3, 3)),
    "norm_eps": _or_none(_number(0, 1)),
    "min_score": _number(0, 1),
    "nms": _number(0, 1),
    "class_agnostic": lambda value: isinstance(value, bool),
    "candidates_per_class": _or_none(_whole(1, ALL)),
    "max_detections": _whole(1, LARGEST_MOST),
    "tiles": _or_none(lambda value: value == 0 or _whole(SMALLEST_TILE, LARGEST_TILE)(value)),
    "overlap": _or_none(_number(0, LARGEST_OVERLAP)),
    "thresholds": _or_none(_thresholds),
}


def read_scales(anchors: str) -> tuple[float, ...]:
    """The scales of ``--anchors``; see ``DetectorSpec``.

    Raises:
        UserError: They are none.
    """
    try:
        scales = tuple(float(word) for word in anchors.split(","))
    except ValueError:
        scales = ()
    if not are_scales(scales):
        raise UserError(
            f"--anchors is {anchors!r}; it takes auto, or the scales of the finest and the coarsest anchors in shares "
            "of the image, such as 0.1,0.95, or of the finest, the second and the coarsest."
        )
    return scales


def in_words(scales: tuple[float, ...]) -> str:
    """As ``--anchors`` takes them."""
    return ",".join(map(str, scales))
