"""What an iteration sees follows from the seed and its number: not from workers, interrupts or processes."""

import itertools

import numpy as np
import pytest
import torch
from coco_sets import make_coco

from mixtransfer.data.detection.augment import DetectionAugment
from mixtransfer.data.detection.load import load_detection_dataset
from mixtransfer.data.detection.square import Square
from mixtransfer.detection.loader import EvaluationLoader, IterationBatches, TrainingLoader
from mixtransfer.detection.mapper import square_view
from mixtransfer.detection.tiling import Tiling


def first(iterable, count):
    return list(itertools.islice(iterable, count))


def indices(batches):
    return [index for batch in batches for index, _ in batch]


def test_every_epoch_holds_every_example_once_and_batches_are_full():
    batches = first(IterationBatches(10, batch_size=4, seed=0), 25)
    assert {len(batch) for batch in batches} == {4}
    epochs = np.array(indices(batches)).reshape(10, 10)
    assert (np.sort(epochs) == np.arange(10)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 10
    assert len({seed for batch in batches for _, seed in batch}) == 100


def test_a_batch_larger_than_the_set_is_full_too():
    batch = first(IterationBatches(3, batch_size=8, seed=0), 1)[0]
    assert len(batch) == 8 and {index for index, _ in batch} == {0, 1, 2} and len(set(batch)) == 8


@pytest.mark.parametrize("start", [1, 3, 17])
def test_start_continues_the_same_order(start):
    whole = first(IterationBatches(10, 4, seed=5), 30)
    assert first(IterationBatches(10, 4, seed=5, start=start), 30 - start) == whole[start:]
    assert first(IterationBatches(10, 4, seed=6), 30) != whole


def test_processes_share_an_iteration():
    together = first(IterationBatches(10, 6, seed=0), 20)
    shares = [first(IterationBatches(10, 2, seed=0, rank=rank, world=3), 20) for rank in range(3)]
    for batch, *parts in zip(together, *shares, strict=True):
        assert sorted(batch) == sorted(itertools.chain(*parts))


@pytest.fixture
def dataset(tmp_path):
    return load_detection_dataset(str(make_coco(tmp_path / "d", train=7, val=5, test=2)))


def training(dataset, count, **options):
    pytest.importorskip("detectron2")
    loader = TrainingLoader(dataset.train, DetectionAugment("standard", 32), batch_size=4, **options)
    return first(loader, count)


def contents(batches):
    return [
        (example["image_id"], example["image"].numpy().tobytes(), example["instances"].gt_boxes.tensor.tolist())
        for batch in batches
        for example in batch
    ]


def test_batches_do_not_depend_on_workers_and_continue_after_an_interrupt(dataset):
    alone = contents(training(dataset, 6, workers=0))
    assert contents(training(dataset, 6, workers=1)) == alone == contents(training(dataset, 6, workers=2))
    assert contents(training(dataset, 2, workers=2, start=4)) == alone[16:]
    assert contents(training(dataset, 6, workers=0, seed=1)) != alone


def test_no_two_workers_or_epochs_draw_the_same_views(dataset):
    """One image many times over: were workers or epochs seeded alike, at least half the views would coincide."""
    pytest.importorskip("detectron2")
    loader = TrainingLoader(dataset.train[:1] * 8, DetectionAugment("standard", 32), batch_size=4, workers=2)
    views = [image for _, image, _ in contents(first(loader, 8))]
    assert len(set(views)) > 24  # a few are left whole and uncoloured


def test_images_are_views_of_one_channels_last_batch(dataset):
    (batch,) = training(dataset, 1, workers=0)
    images = torch.stack([example["image"] for example in batch])
    assert images.shape == (4, 3, 32, 32) and images.dtype == torch.uint8
    assert batch[0]["image"].permute(1, 2, 0).is_contiguous()
    assert batch[0]["image"].untyped_storage().data_ptr() == batch[3]["image"].untyped_storage().data_ptr()


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_gives_every_image_once_in_order(dataset, workers):
    loader = EvaluationLoader(dataset.val, Square(32), batch_size=2, workers=workers)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert [e["image_id"] for batch in batches for e in batch] == [record.image_id for record in dataset.val]
    assert all(e["image"].shape == (3, 32, 32) and (e["height"], e["width"]) == (48, 64) for b in batches for e in b)


def test_processes_share_the_evaluation(dataset):
    shares = [EvaluationLoader(dataset.val, Square(32), workers=0, rank=rank, world=2) for rank in range(2)]
    found = [e["image_id"] for loader in shares for batch in loader for e in batch]
    assert sorted(found) == [record.image_id for record in dataset.val]


def test_with_tiles_a_batch_is_an_image_and_its_parts(dataset):
    record = dataset.val[0]
    tiling = Tiling(32, 0.0)
    loader = EvaluationLoader(dataset.val, Square(32), 4, workers=0, tiling=tiling)
    batches = list(loader)
    assert [batch[0]["image_id"] for batch in batches] == [one.image_id for one in dataset.val]
    windows = tiling.windows(record.width, record.height).tolist()
    assert len(windows) > 2 and [list(view["window"]) for view in batches[0]] == windows
    whole = next(iter(EvaluationLoader(dataset.val, Square(32), 4, workers=0)))[0]
    assert torch.equal(batches[0][0]["image"], whole["image"])
    for view, (x1, y1, x2, y2) in zip(batches[0], windows, strict=True):
        assert (view["width"], view["height"], view["image"].dtype) == (x2 - x1, y2 - y1, torch.uint8)
        assert torch.equal(view["image"], square_view(record.image().crop((x1, y1, x2, y2)), Square(32)))
