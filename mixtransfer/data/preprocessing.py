"""What a network wants to see: size, resampling and normalization, as its weights were trained."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn

from mixtransfer.common.ranges import whole
from mixtransfer.errors import ValueRefused

LARGEST = 4096  # pixels; a description that says more is not one of ours
CROP_MODES = ("center", "squash", "border")
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """From an image to a network's input.

    Attributes:
        size: Side of the square input in pixels.
        crop: The share of the resized side that the central crop keeps.
        interpolation: Name of the resampling filter.
        mean: Mean of each RGB channel, of values in 0…1.
        std: Standard deviation likewise.
        crop_mode: timm's name of how an image becomes a square: "center" resizes the shorter side and cuts the rest
            off, "squash" resizes both sides without regard to their ratio, "border" resizes the longer side and fills
            the rest with the mean colour.

    Raises:
        UserError: A value is none that is possible; it is a ``ValueError`` too.

    Examples:
        >>> Preprocessing(size=96).central_view(Image.new("RGB", (640, 480))).shape
        (96, 96, 3)
    """

    size: int = 224
    crop: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", whole("size", self.size, 1, LARGEST))
        if not isinstance(self.crop, int | float) or not 0 < self.crop <= 1:
            raise ValueRefused(f"crop is {self.crop!r}; it must be more than 0 and at most 1.")
        for name, known in (("interpolation", tuple(_RESAMPLING)), ("crop_mode", CROP_MODES)):
            if getattr(self, name) not in known:
                raise ValueRefused(f"{name} {getattr(self, name)!r} is not one of {', '.join(known)}.")
        for name in ("mean", "std"):
            values = getattr(self, name)
            numbers = isinstance(values, tuple) and all(isinstance(value, int | float) for value in values)
            if not numbers or len(values) != 3 or not np.isfinite(values).all() or name == "std" and min(values) <= 0:
                more = " above 0" if name == "std" else ""
                raise ValueRefused(f"{name} is {values!r}; it must be a tuple of three numbers{more}.")

    @classmethod
    def of(cls, model: nn.Module, size: int | None = None) -> "Preprocessing":
        """What a timm model's own data configuration says.

        Args:
            size: Overrides the input size. A larger one leaves less of a margin around the central crop: what timm's
                configuration has for the model's larger test size, or 0.95, as most such configurations have.
        """
        from timm.data import resolve_model_data_config

        config = resolve_model_data_config(model)
        native, crop = config["input_size"][-1], config["crop_pct"]
        if size and size > native:
            crop = getattr(model, "pretrained_cfg", {}).get("test_crop_pct") or max(crop, 0.95)
        return cls(
            size=size or native,
            crop=crop,
            interpolation=config["interpolation"] if config["interpolation"] in _RESAMPLING else "bicubic",
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            crop_mode=config["crop_mode"] if config["crop_mode"] in CROP_MODES else "center",
        )

    @classmethod
    def from_dict(cls, values: dict) -> "Preprocessing":
        """The inverse of ``to_dict``.

        Raises:
            TypeError, ValueError, KeyError: A value is missing, unknown, of the wrong kind or out of bounds.
        """
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})

    def to_dict(self) -> dict:
        """Its fields, as ``model.json`` has them."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @property
    def min_side(self) -> int:
        """The shorter side from which decoding at a reduced scale loses nothing that the network would see."""
        return 2 * self.size

    def central_view(self, image: Image.Image) -> np.ndarray:
        """Resize and cut out the centre, as timm evaluates: uint8 (size, size, 3)."""
        shorter = int(self.size / self.crop)
        width, height = image.size
        if self.crop_mode != "center":
            return self._whole_view(image, shorter)
        if width <= height:
            resized = (shorter, max(shorter, int(shorter * height / width)))
        else:
            resized = (max(shorter, int(shorter * width / height)), shorter)
        # A panorama of 1 × 10,000 pixels would become huge: the part outside the crop is not worth resizing.
        if max(resized) > 8 * shorter:
            side = min(width, height)
            image = image.crop(_central_box(width, height, min(width, 8 * side), min(height, 8 * side)))
            return self.central_view(image)
        image = image.resize(resized, _RESAMPLING[self.interpolation])
        return np.asarray(image.crop(_central_box(*resized, self.size, self.size)))

    def _whole_view(self, image: Image.Image, longer: int) -> np.ndarray:
        """The view of "squash" and "border", whose longer side has that many pixels before the central crop."""
        sides = np.full(2, longer)
        if self.crop_mode == "border":
            sides = np.maximum(1, np.round(np.array(image.size) * longer / max(image.size))).astype(int)
        square = Image.new("RGB", (self.size, self.size), tuple(round(255 * value) for value in self.mean))
        left, top = (
            int((self.size - side) // 2 if side < self.size else -round((side - self.size) / 2)) for side in sides
        )
        square.paste(image.resize(tuple(sides.tolist()), _RESAMPLING[self.interpolation]), (left, top))
        return np.asarray(square)


def _central_box(width: int, height: int, crop_width: int, crop_height: int) -> tuple[int, int, int, int]:
    left, top = round((width - crop_width) / 2), round((height - crop_height) / 2)
    return left, top, left + crop_width, top + crop_height


class Normalize(nn.Module):
    """uint8 images (n, 3, height, width) to the network's input, on the device, in one pass."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, preprocessing: Preprocessing):
        super().__init__()
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.addcmul(self.shift, images.to(self.scale.dtype), self.scale)
