"""On a GPU a step that reads a value waits for all that is queued: on the CPU the same operations can be counted."""

import traceback
from collections import Counter

import detect_tiny
from coco_sets import make_coco
from folders import make_folder
from lightning.pytorch.callbacks import Callback
from tiny import TINY
from torch.utils._python_dispatch import TorchDispatchMode

import mixtransfer as mt
from mixtransfer.detection.compat import prepare_detectron2
from mixtransfer.detection.train import train

# Each gives Python a value or a size that only the device knows.
READING = {f"aten::{name}" for name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")}


# Reads of what lies on the CPU anyway: the number of averaged steps (see test_averaging), the seed of a loader, the
# sizes of images; and what there is to say when an epoch has ended.
ELSEWHERE = {"update_parameters", "_get_iterator", "from_tensors", "on_advance_end"}


class Reads(TorchDispatchMode):
    """Counts what reads values while it is entered, and the steps that it is told of."""

    def __init__(self):
        super().__init__()
        self.steps, self.found = 0, Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        frames = traceback.extract_stack()[:-1] if func.name() in READING else []
        if frames and not ELSEWHERE.intersection(frame.name for frame in frames):
            frames = [frame for frame in frames if "/torch/" not in frame.filename]
            place = " < ".join(f"{frame.name} ({frame.line})" for frame in frames[:-4:-1])
            self.found[f"{func.name()} by {place}"] += 1
        return func(*args, **(kwargs or {}))


def test_a_step_of_classification_reads_no_value(tmp_path):
    reads = Reads()

    class Watched(Callback):
        def on_train_epoch_start(self, *_):
            reads.__enter__()

        def on_train_batch_end(self, *_):
            reads.steps += 1

        def on_train_epoch_end(self, *_):
            reads.__exit__(None, None, None)

    options = {**TINY, "epochs": 2, "batch_size": 8, "lr": 5e-4, "augment": "strong"}
    animals = make_folder(tmp_path / "animals", {"cat": 14, "dog": 14})
    mt.train(animals, output=tmp_path / "r", callbacks=Watched(), **options)
    assert reads.steps >= 4 and not reads.found, "\n".join(f"{n} × {place}" for place, n in reads.found.items())


def test_a_step_of_detection_reads_its_losses_and_what_detectron2_checks(tmp_path, monkeypatch):
    prepare_detectron2()
    from mixtransfer.detection.loop import DetectionTrainer

    reads, run_step = Reads(), DetectionTrainer.run_step

    def watched(loop):
        with reads:
            reads.steps += 1
            run_step(loop)

    monkeypatch.setattr(DetectionTrainer, "run_step", watched)
    data = make_coco(tmp_path / "d", train=6, val=2, test=2)
    train(detect_tiny.tiny(data, tmp_path / "r", iterations=4, eval_every=4, clip_grad=1.0))
    (checked,) = reads.found
    assert reads.steps == reads.found[checked] == 4 and "get_deltas (assert (src_widths > 0)" in checked, "\n".join(
        f"{n} × {place}" for place, n in reads.found.items()
    )
