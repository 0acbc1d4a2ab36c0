"""Feeding a detector: what an iteration sees follows from the seed and its number alone."""

import gc
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from mixtransfer.data.detection.augment import BoxView
from mixtransfer.data.detection.dataset import Record
from mixtransfer.data.detection.square import Square
from mixtransfer.data.loading import default_workers, epoch_order, one_thread
from mixtransfer.detection.compat import prepare_detectron2
from mixtransfer.detection.mapper import EvaluationMapper, TrainingMapper, add_instances, model_input, to_dataset_dict
from mixtransfer.detection.tiles import TiledMapper
from mixtransfer.detection.tiling import Tiling


class IterationBatches(Sampler[list[tuple[int, int]]]):
    """Endless batches of (position, seed of its augmentation) for one process of a data-parallel training.

    Permutations of all examples follow one another, one an epoch; iteration k takes the k-th stretch of
    ``batch_size`` times ``world`` of them, of which each process gets its share. Every batch is full: one that reaches
    the end of an epoch goes on in the next.

    Args:
        length: Number of examples.
        batch_size: Of one process.
        rank, world: This process and the number of processes.
        start: The first iteration to give.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0, world: int = 1, start: int = 0):
        self.length, self.batch_size, self.seed, self.rank, self.world = length, batch_size, seed, rank, world
        self.start = start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        at_once = self.batch_size * self.world
        epoch, order, seeds = -1, np.empty(0, int), np.empty(0, int)
        for iteration in itertools.count(self.start):
            batch = []
            for place in range(iteration * at_once + self.rank, (iteration + 1) * at_once, self.world):
                if place // self.length != epoch:
                    epoch = place // self.length
                    order, seeds = epoch_order(self.length, self.seed, epoch)
                index = int(order[place % self.length])
                batch.append((index, int(seeds[index])))
            yield batch


class TrainingLoader:
    """Endless batches of dicts with ``image`` and ``instances``, as detectron2's trainers take them.

    Args:
        records: What to train on.
        augment: How.
        batch_size, seed, rank, world, start: See ``IterationBatches``.
        workers: Loading processes.
    """

    def __init__(
        self,
        records: Sequence[Record],
        augment: BoxView,
        batch_size: int,
        seed: int = 0,
        workers: int | None = None,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
    ):
        batches = IterationBatches(len(records), batch_size, seed, rank, world, start)
        views = _TrainingViews(_serialized(records), TrainingMapper(augment))
        self._loader = _loader(views, workers, batch_sampler=batches)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        gc.freeze()  # or collections in the loading processes would copy what they share with this one
        try:
            batches = iter(self._loader)
        finally:
            gc.unfreeze()
        return ([add_instances(example) for example in _apart(*batch)] for batch in batches)


class EvaluationLoader:
    """Batches of dicts with ``image``, in order, this process's share of them; ``len`` says how many.

    Args:
        records: What to evaluate on.
        square: What the network is shown of each.
        batch_size: The largest batch.
        rank, world: This process and the number of processes; each takes every world-th record.
        tiling: How images are cut: a batch is then one image, all of it first and its tiles behind, each with its
            ``window`` (see ``Tiling.windows``).
    """

    def __init__(
        self,
        records: Sequence[Record],
        square: Square,
        batch_size: int = 8,
        workers: int | None = None,
        rank: int = 0,
        world: int = 1,
        tiling: Tiling | None = None,
    ):
        self._square, self._tiled = square, tiling is not None
        mapper = TiledMapper(square, tiling) if tiling else EvaluationMapper(square.size, square.resize)
        views = _EvaluationViews(_serialized(records[rank::world]), mapper)
        self._loader = _loader(views, workers, batch_size=1 if tiling else batch_size)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        return (self._tiles(*batch) if self._tiled else _apart(*batch) for batch in self._loader)

    def _tiles(self, images: torch.Tensor, rest: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """From what ``TiledMapper`` gives of one image to a dict for each window."""
        views = zip(images[0], rest[0]["windows"], strict=True)
        return [
            {**rest[0], "window": (x1, y1, x2, y2), **model_input(image, self._square, x2 - x1, y2 - y1)}
            for image, (x1, y1, x2, y2) in views
        ]


class _TrainingViews(Dataset):
    """An item is asked for by (position, seed)."""

    def __init__(self, examples: Any, mapper: TrainingMapper):
        self.examples, self.mapper = examples, mapper

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        index, seed = key
        return self.mapper.view(self.examples[index], seed)


class _EvaluationViews(Dataset):
    def __init__(self, examples: Any, mapper: EvaluationMapper | TiledMapper):
        self.examples, self.mapper = examples, mapper

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.mapper(self.examples[index])


def _serialized(records: Sequence[Record]) -> Any:
    """Dataset dicts as one block of bytes: loading processes share it, where each would come to copy the objects."""
    prepare_detectron2()
    from detectron2.data import DatasetFromList

    return DatasetFromList([to_dataset_dict(record) for record in records], copy=False, serialize=True)


def _loader(views: Dataset, workers: int | None, **batches) -> DataLoader:
    return DataLoader(
        views,
        num_workers=default_workers() if workers is None else workers,
        collate_fn=_together,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=one_thread,
        **batches,
    )


def _together(examples: list[dict[str, Any]]) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """One tensor of all images, channels last: one piece of shared memory a batch instead of one an image."""
    images = torch.stack([example.pop("image").movedim(-3, -1) for example in examples])
    return images.movedim(-1, -3), examples


def _apart(images: torch.Tensor, rest: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**example, "image": image} for example, image in zip(rest, images, strict=True)]
