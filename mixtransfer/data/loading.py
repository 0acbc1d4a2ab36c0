"""What the loaders of every training share: an order that follows from the seed, and how many processes load."""

import os

import cv2
import numpy as np
import torch


def epoch_order(length: int, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """A permutation of ``length`` examples, and a seed for the augmentation of each.

    Returns:
        Positions of the examples in the order to see them, and seeds by position; int64, shape (length,).
    """
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(length)
    return order, generator.integers(2**31, size=length)


def default_workers() -> int:
    """Loading processes that keep training fed without crowding out a training on the CPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores) if torch.cuda.is_available() else min(2, cores)


def one_thread(worker: int) -> None:
    """For a loader's ``worker_init_fn``: what torch does for its own threads in a loading process, for OpenCV's."""
    cv2.setNumThreads(0)
