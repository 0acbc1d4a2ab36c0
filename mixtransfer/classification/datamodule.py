"""Feeding images to Lightning: order and augmentation follow from the seed alone."""

import math
from collections.abc import Iterator

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from mixtransfer.classification.options import TrainOptions
from mixtransfer.data.augment import Augment
from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.data.loading import default_workers, epoch_order
from mixtransfer.data.preprocessing import Preprocessing


def batch_of(options: TrainOptions) -> int:
    """Images of a step and device, until the largest batch is found."""
    return 32 if options.batch_size == "auto" else options.batch_size


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (position, seed of its augmentation) for one process of a data-parallel training.

    Each epoch is a fresh permutation that depends on the seed and the epoch's number only, cut into batches of
    nearly equal size, so that no image is dropped and no batch is so small that batch norm fails.

    Args:
        length: Number of examples.
        batch_size: The largest batch.
        rank, world: This process and the number of processes; each takes every world-th example.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        self.length, self.batch_size, self.seed, self.rank, self.world = length, batch_size, seed, rank, world
        self.epoch = 0
        self.sampler = self  # Lightning announces a new epoch to `batch_sampler.sampler`

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        # As many in every process, whose shares differ by one image; none is empty where each has an image.
        wanted = math.ceil(self.length / (self.batch_size * self.world))
        return max(1, min(wanted, self.length // self.world))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order, seeds = epoch_order(self.length, self.seed, self.epoch)
        for batch in np.array_split(order[self.rank :: self.world], len(self)):
            yield [(int(i), int(seeds[i])) for i in batch]


class TrainingViews(Dataset):
    """Augmented views; an item is asked for by (position, seed)."""

    def __init__(self, examples: Examples, augment: Augment):
        self.examples, self.augment = examples, augment

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, int]:
        index, seed = key
        image = self.examples.image(index, self.augment.min_side)
        return self.augment(np.asarray(image), seed), int(self.examples.labels[index])


class CentralViews(Dataset):
    """Views for evaluation; an item is (view, label, position)."""

    def __init__(self, examples: Examples, preprocessing: Preprocessing):
        self.examples, self.preprocessing = examples, preprocessing

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int, int]:
        image = self.examples.image(index, self.preprocessing.min_side)
        return self.preprocessing.central_view(image), int(self.examples.labels[index]), index


def collate(items: list[tuple]) -> tuple[torch.Tensor, ...]:
    """Stack views to a uint8 tensor (n, 3, height, width) in channels_last order, without copying twice."""
    views, *numbers = zip(*items, strict=True)
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2), *(torch.tensor(n) for n in numbers)


class EvaluationData(L.LightningDataModule):
    """Loaders of central views.

    In a data-parallel run each process gets its share; the shares are not padded, so that gathered results hold
    every image once.

    Attributes:
        tested: The examples that ``trainer.test`` sees.
    """

    def __init__(self, preprocessing: Preprocessing, batch_size: int = 32, workers: int | None = None):
        super().__init__()
        self.preprocessing, self.batch_size = preprocessing, batch_size
        self.workers = default_workers() if workers is None else workers
        self.tested: Examples | None = None

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def test_dataloader(self) -> DataLoader:
        assert self.tested is not None
        return self.evaluation_loader(self.tested)

    def evaluation_loader(self, examples: Examples, keep: bool = False) -> DataLoader:
        """Central views of ``examples``, in order, this process's share of them."""
        rank, world = self._place()
        shares = range(rank, len(examples), world)
        views = CentralViews(examples, self.preprocessing)
        return self._loader(views, sampler=shares, batch_size=2 * self.batch_size, keep=keep)

    def _loader(self, views: Dataset, keep: bool, **kwargs) -> DataLoader:
        return DataLoader(
            views,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=keep and self.workers > 0,
            **kwargs,
        )


class ClassificationData(EvaluationData):
    """The loaders of a training."""

    def __init__(
        self,
        dataset: ImageDataset,
        preprocessing: Preprocessing,
        augment: Augment,
        batch_size: int = 32,
        workers: int | None = None,
        seed: int = 0,
    ):
        super().__init__(preprocessing, batch_size, workers)
        self.dataset, self.augment, self.seed = dataset, augment, seed

    @classmethod
    def of(cls, dataset: ImageDataset, preprocessing: Preprocessing, options: TrainOptions) -> "ClassificationData":
        """The loaders that options ask for."""
        augment = Augment(
            options.augment, preprocessing.size, options.min_crop, preprocessing.interpolation, preprocessing.crop_mode
        )
        return cls(dataset, preprocessing, augment, batch_of(options), options.workers, options.seed)

    def train_dataloader(self) -> DataLoader:
        batches = EpochBatches(len(self.dataset.train), self.batch_size, self.seed, *self._place())
        return self._loader(TrainingViews(self.dataset.train, self.augment), batch_sampler=batches, keep=True)

    def val_dataloader(self) -> DataLoader:
        return self.evaluation_loader(self.dataset.val, keep=True)
