"""Augmentation of one's own: a pipeline of albumentations, from a file or Python, or of torchvision.transforms.v2."""

import contextlib
import io
import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import wrap_non_picklable_objects
from PIL import Image
from torchvision import tv_tensors

from mixtransfer.common.files import write_atomic
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.data.quiet import A
from mixtransfer.errors import UserError

FILES = (".yaml", ".yml", ".json")
OBJECT = "object"  # what a configuration says of an augmentation that is no name and no file


def read_pipeline(path: Path) -> A.Compose:
    """What ``albumentations.save`` wrote.

    Raises:
        UserError: It cannot be read, or is no such file.
    """
    try:
        loaded = A.load(path, data_format="json" if path.suffix == ".json" else "yaml")
    except OSError as error:
        raise UserError(f"The augmentation {path} cannot be read ({error.strerror}).") from error
    except Exception as error:  # whatever a parser, or a transform with other arguments, raises
        raise UserError(
            f"{path} is no pipeline of albumentations {A.__version__} ({type(error).__name__}: {error}); write it with "
            "albumentations.save(pipeline, FILE, data_format='yaml')."
        ) from error
    return composed(loaded)


def keep_pipeline(augment: Any, path: Path) -> None:
    """Write an augmentation of one's own beside what is trained with it; one that cannot be written is left out.

    Args:
        augment: Of albumentations, or a file of it; what else there is has no form to be written in.
    """
    if isinstance(augment, str) and Path(augment).suffix.lower() in FILES:
        augment = read_pipeline(Path(augment))
    if (text := _as_text(augment)) is not None:
        write_atomic(path, text)


def _as_text(augment: Any) -> str | None:
    """A pipeline of albumentations in YAML; None of what is none, or has a function in it."""
    if not isinstance(augment, A.BaseCompose | A.BasicTransform):
        return None
    text = io.StringIO()
    try:
        A.from_dict(A.to_dict(composed(augment)))  # a function with a name can be written, but not read
        A.save(composed(augment), text, data_format="yaml")
    except Exception:  # whatever a transform of one's own raises
        return None
    return text.getvalue()


def kept_pipeline(path: Path, augment: Any) -> Any:
    """The augmentation that was written beside a training, or ``augment``.

    Raises:
        UserError: It was an object that could not be written, and is not given again; or it is another one.
    """
    if not isinstance(augment, str):
        ours = isinstance(augment, A.BaseCompose | A.BasicTransform)
        if ours and path.exists() and _as_text(augment) != path.read_text(encoding="utf-8"):
            raise UserError(f"{path.parent} goes on with its own augmentation, {path.name}: leave the other out.")
        return augment
    if path.exists():
        return str(path)
    if augment == OBJECT:
        raise UserError("The augmentation is an object of Python: give it by mixtransfer.train(…, augment=…).")
    return augment


def composed(transform: Any) -> A.Compose:
    """The same transform as a pipeline of its own, without what it says about boxes.

    Raises:
        UserError: It is none of albumentations'.
    """
    if isinstance(transform, A.BaseCompose | A.BasicTransform):
        if type(transform) is A.Compose:
            return A.Compose(deepcopy(transform.transforms), p=transform.p)  # the user's draw from their own generator
        return A.Compose([deepcopy(transform)])
    raise UserError(f"The augmentation is no pipeline of albumentations but {type(transform).__name__}.")


class ByValue:
    """What goes to other processes with the lambdas that it holds."""

    def __getstate__(self) -> Any:
        return wrap_non_picklable_objects(self.__dict__, keep_wrapper=False)

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(getattr(state, "_obj", state))  # a copy gets the wrapper, another process what was in it


class OwnAugment(ByValue):
    """A view that a user's own transform makes, the same for the same seed in any process.

    Args:
        transform: Of albumentations, or a callable that takes a PIL image and gives one, an array, or a tensor of
            (3, height, width): uint8, or float in 0…1. What is not yet square, of the network's size, is resized and
            cut as in evaluation, without a margin.
        preprocessing: What the network wants to see. Normalizing is its part, and comes afterwards.

    Attributes:
        min_side: None: images are decoded at full size.
    """

    min_side = None

    def __init__(self, transform: Any, preprocessing: Preprocessing):
        self.size = preprocessing.size
        self.whole = Preprocessing(self.size, 1.0, preprocessing.interpolation, crop_mode=preprocessing.crop_mode)
        albumentations = isinstance(transform, A.BaseCompose | A.BasicTransform)
        self.compose = composed(transform) if albumentations else None
        self.transform = transform

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """A view of ``image``, uint8 (height, width, 3), as uint8 (size, size, 3).

        Raises:
            UserError: The transform gives something else than an image.
        """
        if self.compose is not None:
            # One generator for all transforms, as in ``Augment``.
            self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
            view = self.compose(image=image)["image"]
        else:
            with seeded(seed):
                view = self.transform(Image.fromarray(image))
        pixels = to_pixels(view)
        if pixels.shape[:2] != (self.size, self.size):
            pixels = self.whole.central_view(Image.fromarray(pixels))
        return pixels


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Have torch, numpy and Python draw from a seed, and then go on as if nothing had been drawn."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)  # and not a GPU's, which training draws from
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def to_pixels(view: Any) -> np.ndarray:
    """An image that a transform gave, as uint8 (height, width, 3).

    Raises:
        UserError: It is none.
    """
    if isinstance(view, Image.Image):
        return np.asarray(view.convert("RGB"))
    if isinstance(view, torch.Tensor) and view.ndim == 3:
        view = (view.float() if view.is_floating_point() else view).permute(1, 2, 0).numpy()
    if not isinstance(view, np.ndarray) or view.ndim != 3 or view.shape[2] != 3 or not view.size:
        shape = getattr(view, "shape", None)
        raise UserError(
            f"The augmentation gives {type(view).__name__}{'' if shape is None else f' of shape {tuple(shape)}'}, "
            "where an RGB image is needed."
        )
    if view.dtype == np.uint8:
        return view
    if not np.issubdtype(view.dtype, np.floating) or not (view.min() >= -0.01 and view.max() <= 1.01):  # nor NaN
        raise UserError(
            f"The augmentation gives {view.dtype} from {view.min():.3g} to {view.max():.3g}, where uint8, or float "
            "from 0 to 1, is needed: leave out its normalization, the network's own follows."
        )
    return np.rint(view.clip(0, 1) * 255).astype(np.uint8)


def with_boxes(
    transform: Any, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a transform of torchvision.transforms.v2 makes of an image and its boxes.

    Args:
        image: uint8 (height, width, 3).
        boxes: x1, y1, x2, y2 in shares of the sides, (n, 4).
        labels: int64 (n,).

    Returns:
        The image, its boxes in shares of its sides, not clipped, and their labels.

    Raises:
        UserError: It makes something else.
    """
    height, width = image.shape[:2]
    sides = np.array([width, height, width, height])
    given = {
        "image": tv_tensors.Image(torch.from_numpy(image.copy()).permute(2, 0, 1)),
        "boxes": tv_tensors.BoundingBoxes(
            torch.from_numpy((boxes * sides).astype(np.float32)), format="XYXY", canvas_size=(height, width)
        ),
        "labels": torch.from_numpy(labels),
    }
    made = transform(given)
    if not isinstance(made, dict) or not made.keys() >= given.keys():
        raise UserError(
            f"The augmentation gives {type(made).__name__}, where a dict of image, boxes and labels is needed."
        )
    pixels = to_pixels(made["image"])
    sides = np.array([pixels.shape[1], pixels.shape[0]] * 2)
    return pixels, made["boxes"].numpy().reshape(-1, 4) / sides, made["labels"].numpy()
