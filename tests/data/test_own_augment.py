"""Augmentation of one's own: files and objects of albumentations, pipelines of torchvision, functions."""

import copy
import pickle
import random
import subprocess
import sys

import albumentations as A
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from mixtransfer.data.augment import as_augment
from mixtransfer.data.detection.augment import as_detection_augment, warp
from mixtransfer.data.own_augment import keep_pipeline, kept_pipeline
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.errors import UserError

SEEN = Preprocessing(32)
PIPELINE = A.Compose([A.RandomCrop(24, 40), A.HorizontalFlip(p=0.5), A.GaussNoise(p=1.0)])


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)


def saved(pipeline, folder, suffix):
    path = folder / f"mine{suffix}"
    A.save(pipeline, path, data_format="json" if suffix == ".json" else "yaml")
    return str(path)


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_a_file_is_the_pipeline_that_was_written(image, tmp_path, suffix):
    ours, given = as_augment(saved(PIPELINE, tmp_path, suffix), SEEN), as_augment(PIPELINE, SEEN)
    views = [ours(image, seed) for seed in range(8)]
    assert all(np.array_equal(view, given(image, seed)) for seed, view in enumerate(views))
    assert all(view.shape == (32, 32, 3) and view.dtype == np.uint8 for view in views)
    assert len({view.tobytes() for view in views}) == 8


@pytest.mark.parametrize(
    "pipeline",
    [
        v2.Compose([v2.RandomResizedCrop(32), v2.RandomHorizontalFlip()]),
        v2.Compose([v2.PILToTensor(), v2.RandomResizedCrop(32)]),
        v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.RandomResizedCrop(32)]),
        lambda picture: picture.rotate(random.uniform(0, 90)),
        lambda picture: np.asarray(picture)[: np.random.randint(10, 40)],
    ],
)
def test_pipelines_of_torchvision_and_functions_follow_the_seed_alone(image, pipeline):
    view = as_augment(pipeline, SEEN)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    views = [view(image, seed) for seed in range(6)]
    assert all(np.array_equal(view(image, seed), one) for seed, one in enumerate(views))
    assert len({one.tobytes() for one in views}) > 3
    assert all(one.shape == (32, 32, 3) and one.dtype == np.uint8 for one in views)
    assert torch.equal(states[0], torch.get_rng_state()) and states[2] == random.getstate()
    assert np.array_equal(states[1], np.random.get_state()[1])


def test_what_is_not_of_the_networks_size_is_resized_as_in_evaluation(image):
    view = as_augment(A.Compose([A.HorizontalFlip(p=1.0)]), SEEN)(image, 0)
    expected = Preprocessing(32, 1.0).central_view(Image.fromarray(image[:, ::-1]))
    assert np.array_equal(view, expected)


def test_torchvision_and_evaluation_agree_on_colours(image):
    """A tensor of floats in 0…1 is the image that it was made of."""
    pipeline = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    assert np.array_equal(
        as_augment(pipeline, SEEN)(image, 0), Preprocessing(32, 1.0).central_view(Image.fromarray(image))
    )


@pytest.mark.parametrize(
    ("augment", "says"),
    [
        (A.Compose([A.Normalize()]), "leave out its normalization"),
        (v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize([9.0], [1.0])]), "leave out its norm"),
        (lambda image: None, "gives NoneType, where an RGB image is needed"),
        (lambda image: np.zeros((4, 4), np.uint8), r"of shape \(4, 4\)"),
        (lambda image: np.full((4, 4, 3), np.nan, np.float32), "float32 from nan"),
        (3, "is a int, which makes no views"),
    ],
)
def test_what_makes_no_image_is_one_sentence(image, augment, says):
    with pytest.raises(UserError, match=says):
        as_augment(augment, SEEN)(image, 0)


@pytest.mark.parametrize("made", [None, {"image": 1}, {"image": 1, "more": 2}, ([1], [2])])
def test_what_makes_no_image_with_boxes_is_one_sentence(image, made):
    with pytest.raises(UserError, match="where a dict of image, boxes and labels is needed"):
        as_detection_augment(lambda given: made, 32)(image, np.array([[0.1, 0.1, 0.5, 0.5]]), np.zeros(1, int), 0)


@pytest.mark.parametrize("make", [lambda augment: as_augment(augment, SEEN), lambda a: as_detection_augment(a, 32)])
def test_files_that_cannot_be_used(tmp_path, make):
    for name, text, says in (
        ("a.yaml", "transform: {__class_fullname__: Nothing}", "is no pipeline of albumentations"),
        ("b.json", "[", "is no pipeline of albumentations"),
        ("none.yaml", None, "cannot be read"),
        ("c.txt", "", "is not one of none, crop"),
        ("warm", None, "is not one of none, crop"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=says):
            make(str(tmp_path / name) if "." in name else name)


def coloured(boxes, width=80, height=60):
    """An image with a rectangle of a colour of its own in each box, given in pixels."""
    image = np.full((height, width, 3), 255, np.uint8)
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        image[y1:y2, x1:x2] = (0, 0, 60 + 60 * i)
    return image


@pytest.mark.parametrize(
    "pipeline",
    [
        A.Compose([A.HorizontalFlip(p=1.0), A.Crop(10, 10, 70, 55)]),
        v2.Compose([v2.RandomHorizontalFlip(1.0), v2.Lambda(lambda x: v2.functional.crop(x, 10, 10, 45, 60)
                                                           if not torch.is_tensor(x) or x.ndim > 1 else x)]),
    ],
    ids=["albumentations", "torchvision"],
)  # fmt: skip
def test_boxes_stay_on_their_objects(pipeline):
    """Where a box says that an object is, its colour is; one that is cut away is gone, with its label."""
    pixels = [(12, 12, 30, 30), (40, 20, 60, 50), (0, 0, 6, 6)]
    image = coloured(pixels)
    shares = np.array(pixels) / np.array([80, 60, 80, 60])
    view, boxes, labels = as_detection_augment(pipeline, 64)(image, shares, np.arange(3), 0)
    assert view.shape == (64, 64, 3) and boxes.dtype == np.float32 and labels.tolist() == [0, 1]
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        assert view[int((y1 + y2) / 2), int((x1 + x2) / 2)].tolist() == [0, 0, 60 + 60 * label]
        inside = view[int(y1) + 2 : int(y2) - 2, int(x1) + 2 : int(x2) - 2]
        assert (inside == (0, 0, 60 + 60 * label)).all()
        assert (view[max(int(y1) - 2, 0), int((x1 + x2) / 2)] == 255).all()


def test_a_view_without_boxes(image):
    view, boxes, labels = as_detection_augment(A.HorizontalFlip(p=1.0), 40)(image, np.empty((0, 4)), np.empty(0), 0)
    assert boxes.shape == (0, 4) and labels.shape == (0,)
    assert np.array_equal(view, warp(np.ascontiguousarray(image[:, ::-1]), 40, 40))


def test_a_pipeline_keeps_how_often_it_is_applied(image, tmp_path):
    seldom = A.Compose([A.InvertImg(p=1.0)], p=0.3)
    for view in (as_augment(seldom, SEEN), as_augment(saved(seldom, tmp_path, ".yaml"), SEEN)):
        plain = as_augment(A.NoOp(), SEEN)(image, 0)
        assert 0.15 < np.mean([not np.array_equal(view(image, seed), plain) for seed in range(100)]) < 0.45
    boxes = as_detection_augment(seldom, 32)
    views = {boxes(image, np.array([[0.1, 0.1, 0.9, 0.9]]), np.array([0]), seed)[0].tobytes() for seed in range(30)}
    assert len(views) == 2


def in_another_process(view, *args):
    code = "import pickle, sys; call, args = pickle.load(sys.stdin.buffer); pickle.dump(call(*args), sys.stdout.buffer)"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps((view, args)), stdout=subprocess.PIPE)
    return pickle.loads(done.stdout)


@pytest.mark.parametrize(
    "transform", [lambda image: 255 - np.asarray(image), A.Lambda(image=lambda image, **_: 255 - image, p=1.0)]
)
def test_a_lambda_reaches_other_processes(image, transform):
    """As it is sent to the loading processes of macOS, Windows and Python 3.14."""
    view = as_augment(transform, SEEN)
    seen = in_another_process(view, image, 0)
    assert np.array_equal(seen, view(image, 0)) and not np.array_equal(seen, as_augment(A.NoOp(), SEEN)(image, 0))


def test_a_lambda_with_boxes_is_sent_too(image):
    view = as_detection_augment(A.Compose([A.Lambda(image=lambda image, **_: 255 - image, p=1.0)]), 32)
    boxes = np.array([[0.1, 0.1, 0.9, 0.9]]), np.array([0])
    for ours, theirs in zip(view(image, *boxes, 0), in_another_process(view, image, *boxes, 0), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("named", [{}, {"name": "negative"}])
def test_a_pipeline_with_a_function_has_no_file(tmp_path, named):
    negative = A.Compose([A.HorizontalFlip(p=0.5), A.Lambda(image=lambda image, **_: 255 - image, **named)])
    keep_pipeline(negative, tmp_path / "augment.yaml")
    assert not list(tmp_path.iterdir())
    assert kept_pipeline(tmp_path / "augment.yaml", negative) is negative
    with pytest.raises(UserError, match="is an object of Python: give it"):
        kept_pipeline(tmp_path / "augment.yaml", "object")


def test_a_pipeline_goes_on_with_its_own_alone(tmp_path):
    keep_pipeline(PIPELINE, tmp_path / "augment.yaml")
    assert kept_pipeline(tmp_path / "augment.yaml", PIPELINE) is PIPELINE
    with pytest.raises(UserError, match="goes on with its own augmentation"):
        kept_pipeline(tmp_path / "augment.yaml", A.Lambda(image=lambda image, **_: 255 - image))


@pytest.mark.parametrize("make", [lambda augment: as_augment(augment, SEEN), lambda a: as_detection_augment(a, 32)])
def test_a_copy_makes_the_same_views(image, make):
    view = make(lambda image: image[:32, :32])
    assert all(again.transform is view.transform for again in (copy.copy(view),))
    assert callable(copy.deepcopy(view).transform)


def test_the_users_own_pipeline_draws_as_before(image):
    pipeline = A.Compose([A.RandomCrop(32, 32), A.HorizontalFlip()])
    as_augment(pipeline, SEEN)(image, 0)
    first = [pipeline(image=image)["image"] for _ in range(8)]
    as_augment(pipeline, SEEN)(image, 0)
    again = [pipeline(image=image)["image"] for _ in range(8)]
    assert any((one != other).any() for one, other in zip(first, again, strict=True))
