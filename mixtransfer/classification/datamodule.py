"""Feeding images to Lightning: order and augmentation follow from the seed alone."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from mixtransfer.classification.options import TrainOptions
from mixtransfer.common.ranges import SEED, whole
from mixtransfer.data.augment import View, as_augment
from mixtransfer.data.dataset import Examples, ImageDataset
from mixtransfer.data.load import load_dataset
from mixtransfer.data.loading import default_workers, epoch_order, one_thread
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.errors import UserError


def batch_of(options: TrainOptions) -> int:
    """Images of a step and device, until the largest batch is found."""
    return 32 if options.batch_size == "auto" else options.batch_size


class EpochBatches(DistributedSampler):
    """Batches of (position, seed of its augmentation) for one process of a data-parallel training.

    Each epoch is a fresh permutation that depends on the seed and the epoch's number only, cut into batches of
    nearly equal size, so that no image is dropped and none is alone in a batch, where batch norm may fail. It is a
    ``DistributedSampler`` so that a Trainer with ``use_distributed_sampler`` leaves it in its place.

    Args:
        length: Number of examples.
        batch_size: The largest batch (of 2, of an odd number of images, one may have 3).
        rank, world: This process and the number of processes; each takes every world-th example.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        super().__init__(range(length), world, rank, seed=seed)  # type: ignore[arg-type]
        self.length, self.batch_size = length, batch_size

    def __len__(self) -> int:
        # As many in every process, whose shares differ by one image; of two or more where each has as many.
        wanted = math.ceil(self.length / (self.batch_size * self.num_replicas))
        return max(1, min(wanted, self.length // (self.num_replicas * min(2, self.batch_size))))

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
    """Augmented views; a batch is asked for by a list of (position, seed).

    For samplers of one's own a position, or a (position, seed), gives a single view, uint8 (3, height, width), and its
    label; of a position alone the seed is drawn from torch's generator.
    """

    def __init__(self, examples: Examples, augment: View):
        self.examples, self.augment = examples, augment

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, keys: Any) -> Any:
        if isinstance(keys, list):
            return [self._view(*key) for key in keys]
        key = keys if isinstance(keys, tuple) else (int(keys), int(torch.randint(2**31, ())))
        view, label = self._view(*key)
        return torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1))), label

    def _view(self, index: int, seed: int) -> tuple[np.ndarray, int | np.ndarray]:
        image = self.examples.image(index, self.augment.min_side)
        return self.augment(np.asarray(image), seed), self.examples.label(index)


class CentralViews(Dataset):
    """Views for evaluation; an item is (view, label, position)."""

    def __init__(self, examples: Examples, preprocessing: Preprocessing):
        self.examples, self.preprocessing = examples, preprocessing

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int | np.ndarray, int]:
        image = self.examples.image(index, self.preprocessing.min_side)
        return self.preprocessing.central_view(image), self.examples.label(index), index


def collate(items: list[tuple]) -> tuple[torch.Tensor, ...]:
    """Stack views to a uint8 tensor (n, 3, height, width) in channels_last order, without copying twice."""
    views, *numbers = zip(*items, strict=True)
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2), *(torch.from_numpy(np.array(n)) for n in numbers)


class EvaluationData(L.LightningDataModule):
    """Loaders of central views.

    In a data-parallel run each process gets its share; the shares are not padded, so that gathered results hold
    every image once.

    Attributes:
        tested: The examples that ``trainer.test`` sees.
    """

    def __init__(self, preprocessing: Preprocessing | None = None, batch_size: int = 32, workers: int | None = None):
        super().__init__()
        workers = default_workers() if workers is None else workers
        self.preprocessing, self.batch_size = preprocessing, whole("batch_size", batch_size, 1)
        self.workers = whole("workers", workers)
        self.tested: Examples | None = None

    def _needed(self) -> Preprocessing:
        """The preprocessing.

        Raises:
            UserError: There is none.
        """
        if self.preprocessing is None:
            raise UserError(
                "ImageDataModule needs preprocessing=, such as Preprocessing.of(network), unless a Trainer fits an "
                "ImageClassifier with it, which has one."
            )
        return self.preprocessing

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def test_dataloader(self) -> DataLoader:
        assert self.tested is not None
        return self.evaluation_loader(self.tested)

    def evaluation_loader(self, examples: Examples, keep: bool = False) -> DataLoader:
        """Central views of ``examples``, in order, this process's share of them."""
        sampler = Share(len(examples), *self._place())
        views = CentralViews(examples, self._needed())
        return self._loader(views, sampler=sampler, batch_size=2 * self.batch_size, keep=keep)

    def _loader(self, views: Dataset, keep: bool, **kwargs) -> DataLoader:
        return DataLoader(
            views,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=one_thread,
            persistent_workers=keep and self.workers > 0,
            **kwargs,
        )


class ImageDataModule(EvaluationData):
    """The loaders of a training, for any ``lightning.Trainer``, whether it distributes samplers or not.

    Training batches are (images, labels): uint8 (n, 3, size, size) and int64 (n,), or of images that may have several
    labels uint8 (n, classes) of 0 and 1. Those for evaluation have the positions of the images as well, int64 (n,).
    Order and augmentation follow from the seed and the epoch alone.

    Args:
        dataset: What ``load_dataset`` gives, or its argument: a folder, a CSV manifest or a name.
        preprocessing: What the network wants to see; by default what ``ImageClassifier`` under the same Trainer says.
        augment: A policy of ``mixtransfer.data.augment.POLICIES``, a file or object that ``as_augment`` takes.
        batch_size: Images a step and device; twice as many in evaluation.
        workers: Loading processes; by default by the machine.
        seed: Of order and augmentation.

    Raises:
        UserError: The data cannot be read, or a number is none that is possible.

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
        if not isinstance(dataset, ImageDataset | str | Path):
            raise UserError(
                f"ImageDataModule takes a folder, a CSV manifest, a name or what load_dataset gives, not a "
                f"{type(dataset).__name__}."
            )
        self.dataset = dataset if isinstance(dataset, ImageDataset) else load_dataset(str(dataset))
        self.augment, self.seed = "none" if augment is None else augment, whole("seed", seed, *SEED)

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
            self.preprocessing = getattr(self.trainer and self.trainer.lightning_module, "preprocessing", None)
        self._needed()

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the labels."""
        return self.dataset.classes

    @property
    def num_classes(self) -> int:
        return len(self.dataset.classes)

    def train_dataloader(self) -> DataLoader:
        views = TrainingViews(self.dataset.train, as_augment(self.augment, self._needed()))
        if getattr(self.trainer, "overfit_batches", 0):  # Lightning wants the same batches in every epoch
            order, seeds = epoch_order(len(views), self.seed, 0)
            fixed = Subset(views, [(int(i), int(seeds[i])) for i in order])  # type: ignore[misc]
            return DataLoader(fixed, batch_size=self.batch_size, num_workers=self.workers, worker_init_fn=one_thread)
        batches = EpochBatches(len(self.dataset.train), self.batch_size, self.seed, *self._place())
        return self._loader(views, sampler=batches, batch_size=None, keep=True)

    def val_dataloader(self) -> DataLoader:
        return self.evaluation_loader(self.dataset.val, keep=True)

    def test_dataloader(self) -> DataLoader:
        return self.evaluation_loader(self.dataset.test if self.tested is None else self.tested)

    def predict_dataloader(self) -> DataLoader:
        """The images to test on, in order."""
        return self.test_dataloader()
