"""Feeding images to Lightning: order and augmentation follow from the seed alone."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from mixtransfer.classification.options import TrainOptions
from mixtransfer.data.augment import View, as_augment
from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.data.load import load_dataset
from mixtransfer.data.loading import default_workers, epoch_order
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.errors import UserError


def batch_of(options: TrainOptions) -> int:
    """Images of a step and device, until the largest batch is found."""
    return 32 if options.batch_size == "auto" else options.batch_size


class EpochBatches(DistributedSampler):
    """Batches of (position, seed of its augmentation) for one process of a data-parallel training.

    Each epoch is a fresh permutation that depends on the seed and the epoch's number only, cut into batches of
    nearly equal size, so that no image is dropped and no batch is so small that batch norm fails. It is a
    ``DistributedSampler`` so that a Trainer with ``use_distributed_sampler`` leaves it in its place.

    Args:
        length: Number of examples.
        batch_size: The largest batch.
        rank, world: This process and the number of processes; each takes every world-th example.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        super().__init__(range(length), world, rank, seed=seed)  # type: ignore[arg-type]
        self.length, self.batch_size = length, batch_size

    def __len__(self) -> int:
        # As many in every process, whose shares differ by one image; none is empty where each has an image.
        wanted = math.ceil(self.length / (self.batch_size * self.num_replicas))
        return max(1, min(wanted, self.length // self.num_replicas))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order, seeds = epoch_order(self.length, self.seed, self.epoch)
        for batch in np.array_split(order[self.rank :: self.num_replicas], len(self)):
            yield [(int(i), int(seeds[i])) for i in batch]


class Share(DistributedSampler):
    """The positions that one process evaluates, in order, none of them twice; see ``EpochBatches``."""

    def __init__(self, length: int, rank: int = 0, world: int = 1):
        super().__init__(range(length), world, rank, shuffle=False)  # type: ignore[arg-type]
        self.own = range(rank, length, world)

    def __len__(self) -> int:
        return len(self.own)

    def __iter__(self) -> Iterator[int]:
        return iter(self.own)


class TrainingViews(Dataset):
    """Augmented views; a batch is asked for by a list of (position, seed)."""

    def __init__(self, examples: Examples, augment: View):
        self.examples, self.augment = examples, augment

    def __getitem__(self, keys: list[tuple[int, int]]) -> list[tuple[np.ndarray, int]]:
        return [self._view(*key) for key in keys]

    def _view(self, index: int, seed: int) -> tuple[np.ndarray, int]:
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

    def __init__(self, preprocessing: Preprocessing | None = None, batch_size: int = 32, workers: int | None = None):
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
        assert self.preprocessing
        sampler = Share(len(examples), *self._place())
        views = CentralViews(examples, self.preprocessing)
        return self._loader(views, sampler=sampler, batch_size=2 * self.batch_size, keep=keep)

    def _loader(self, views: Dataset, keep: bool, **kwargs) -> DataLoader:
        return DataLoader(
            views,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=keep and self.workers > 0,
            **kwargs,
        )


class ImageDataModule(EvaluationData):
    """The loaders of a training, for any ``lightning.Trainer``, whether it distributes samplers or not.

    Training batches are (images, labels): uint8 (n, 3, size, size) and int64 (n,). Those for evaluation have the
    positions of the images as well, int64 (n,). Order and augmentation follow from the seed and the epoch alone.

    Args:
        dataset: What ``load_dataset`` gives, or its argument: a folder, a CSV manifest or a name.
        preprocessing: What the network wants to see; by default what ``ImageClassifier`` under the same Trainer says.
        augment: A policy of ``mixtransfer.data.augment.POLICIES``, a file or object that ``as_augment`` takes.
        batch_size: Images a step and device; twice as many in evaluation.
        workers: Loading processes; by default by the machine.
        seed: Of order and augmentation.

    Attributes:
        follows: Whether the preprocessing is that of the network under the same Trainer.
    """

    def __init__(
        self,
        dataset: ImageDataset | str | Path,
        preprocessing: Preprocessing | None = None,
        augment: Any = "standard",
        batch_size: int = 32,
        workers: int | None = None,
        seed: int = 0,
    ):
        super().__init__(preprocessing, batch_size, workers)
        self.follows = preprocessing is None
        self.dataset = dataset if isinstance(dataset, ImageDataset) else load_dataset(str(dataset))
        self.augment, self.seed = augment, seed

    @classmethod
    def of(
        cls, dataset: ImageDataset, preprocessing: Preprocessing, options: TrainOptions, augment: Any = None
    ) -> "ImageDataModule":
        """The loaders that options ask for, with another augmentation if one is given."""
        chosen = options.augment if augment is None else augment
        augment = as_augment(chosen, preprocessing, options.min_crop)
        return cls(dataset, preprocessing, augment, batch_of(options), options.workers, options.seed)

    def setup(self, stage: str) -> None:
        if self.follows:
            assert self.trainer
            self.preprocessing = getattr(self.trainer.lightning_module, "preprocessing", None)
        if self.preprocessing is None:
            raise UserError("ImageDataModule needs preprocessing: its network is no ImageClassifier, which has one.")

    def train_dataloader(self) -> DataLoader:
        assert self.preprocessing
        views = TrainingViews(self.dataset.train, as_augment(self.augment, self.preprocessing))
        batches = EpochBatches(len(self.dataset.train), self.batch_size, self.seed, *self._place())
        return self._loader(views, sampler=batches, batch_size=None, keep=True)

    def val_dataloader(self) -> DataLoader:
        return self.evaluation_loader(self.dataset.val, keep=True)

    def test_dataloader(self) -> DataLoader:
        return self.evaluation_loader(self.dataset.test if self.tested is None else self.tested)
