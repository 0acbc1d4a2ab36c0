"""Order and augmentation follow from seed and epoch alone: not from workers, processes or interrupts."""

import albumentations
import cv2
import numpy as np
import pytest
import torch
from folders import make_folder
from PIL import Image

from mixtransfer.classification.datamodule import EpochBatches, ImageDataModule
from mixtransfer.classification.options import TrainOptions
from mixtransfer.data.augment import Augment
from mixtransfer.data.load import load_dataset
from mixtransfer.data.preprocessing import Preprocessing


def test_batches_hold_every_example_once_in_nearly_equal_sizes():
    batches = EpochBatches(101, batch_size=20, seed=0)
    sizes = [len(batch) for batch in batches]
    assert len(sizes) == len(batches) == 6 and max(sizes) - min(sizes) <= 1
    assert sorted(index for batch in batches for index, _ in batch) == list(range(101))


def test_epochs_and_seeds_differ_and_repeat():
    def epoch(seed, number):
        batches = EpochBatches(50, 10, seed)
        batches.set_epoch(number)
        return list(batches)

    assert epoch(0, 1) == epoch(0, 1)
    assert epoch(0, 1) != epoch(0, 2) and epoch(0, 1) != epoch(1, 1)


def test_processes_share_an_epoch_without_overlap():
    shares = [EpochBatches(101, 10, seed=0, rank=rank, world=4) for rank in range(4)]
    assert len({len(share) for share in shares}) == 1
    indices = [index for share in shares for batch in share for index, _ in batch]
    assert sorted(indices) == list(range(101))


@pytest.fixture
def dataset(tmp_path):
    return load_dataset(str(make_folder(tmp_path / "d", {"a": 12, "b": 12})))


def epoch_of(dataset, workers, epoch, seed=0):
    data = ImageDataModule(dataset, Preprocessing(size=32), Augment("standard", 32), 8, workers, seed)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return torch.cat([images for images, _ in loader])


def test_views_do_not_depend_on_the_number_of_workers(dataset):
    alone, one, two = (epoch_of(dataset, workers, epoch=1) for workers in (0, 1, 2))
    assert torch.equal(alone, one) and torch.equal(alone, two)


def test_no_two_workers_or_epochs_draw_the_same_views(tmp_path):
    """One image many times over: were workers seeded alike, their views would coincide."""
    from mixtransfer.data.dataset import Examples, ImageDataset

    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    examples = Examples(np.repeat(image[None], 32, axis=0), np.zeros(32, dtype=np.int64))
    dataset = ImageDataset("same", ["a", "b"], examples, examples, examples)
    views = torch.cat([epoch_of(dataset, workers=2, epoch=epoch) for epoch in (0, 1)])
    assert len({view.contiguous().numpy().tobytes() for view in views}) == 64


def test_images_arrive_in_channels_last_order(dataset):
    data = ImageDataModule(dataset, Preprocessing(size=32), Augment("none", 32), 8, workers=0)
    images, labels = next(iter(data.train_dataloader()))
    assert images.dtype == torch.uint8 and images.is_contiguous(memory_format=torch.channels_last)
    images, labels, positions = next(iter(data.val_dataloader()))
    assert positions.tolist() == list(range(len(dataset.val)))
    assert labels.tolist() == dataset.val.labels.tolist()


@pytest.mark.parametrize(
    ("length", "batch_size", "world"), [(7, 1, 2), (5, 2, 4), (9, 4, 2), (3, 8, 3), (3, 2, 1), (5, 2, 2)]
)
def test_no_process_has_an_empty_batch_and_all_have_as_many(length, batch_size, world):
    batches = [list(EpochBatches(length, batch_size, 0, rank, world)) for rank in range(world)]
    assert len({len(its) for its in batches}) == 1 and all(batch for its in batches for batch in its)
    assert sorted(i for its in batches for batch in its for i, _ in batch) == list(range(length))
    if batch_size > 1 and length >= 2 * world:  # batch norm may need two
        assert all(len(batch) > 1 for its in batches for batch in its)


def test_training_sees_images_as_they_are_seen_afterwards(dataset):
    """Filter and crop of the network's own, where nothing is augmented."""
    preprocessing = Preprocessing(24, 1.0, "bilinear", crop_mode="squash")
    data = ImageDataModule.of(dataset, preprocessing, TrainOptions(augment="none", batch_size="auto", workers=0))
    assert data.batch_size == 32
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
    assert np.array_equal(data.augment(image, 0), preprocessing.central_view(Image.fromarray(image)))


def test_opencv_has_one_thread_in_a_loading_process(dataset):
    """As torch has there: the processes are as many as the cores already."""

    def threads(image, **_):
        return np.full((32, 32, 3), cv2.getNumThreads(), np.uint8)

    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        data = ImageDataModule(dataset, Preprocessing(size=32), albumentations.Lambda(image=threads, p=1), 8, workers=1)
        images, _ = next(iter(data.train_dataloader()))
    finally:
        cv2.setNumThreads(before)
    assert images.unique().tolist() == [1]
