"""COCO 2017 as detectron2 registers it ($DETECTRON2_DATASETS/coco), at 320 pixels, with SSD's crops and flips.

`mixtransfer detect train` brings its own data; of this it takes the views and the batch.
"""

from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader, build_detection_train_loader, get_detection_dataset_dicts
from detectron2.evaluation import COCOEvaluator

from mixtransfer.data.detection.augment import DetectionAugment
from mixtransfer.detection.mapper import EvaluationMapper, TrainingMapper

dataloader = dict(
    train=L(build_detection_train_loader)(
        dataset=L(get_detection_dataset_dicts)(names="coco_2017_train"),
        mapper=L(TrainingMapper)(augment=L(DetectionAugment)(policy="crop-flip", size=320, resize="warp")),
        total_batch_size=192,  # of all devices together; with another one scale lr alike
        aspect_ratio_grouping=False,
        num_workers=8,  # of each device; a core makes 145 views a second (AMD EPYC, 2026-11-27)
    ),
    test=L(build_detection_test_loader)(
        dataset=L(get_detection_dataset_dicts)(names="coco_2017_val", filter_empty=False),
        mapper=L(EvaluationMapper)(size=320, resize="warp"),
        num_workers=8,
    ),
    evaluator=L(COCOEvaluator)(dataset_name="coco_2017_val", tasks=("bbox",)),
)
