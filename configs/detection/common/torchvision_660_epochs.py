"""torchvision's schedule for ssdlite320_mobilenet_v3_large, which came to box AP 21.3 on COCO val2017 with it.

From its references/detection (README.md, train.py): 660 epochs on 8 GPUs with 24 images each, SGD at 0.15 with
momentum 0.9 and weight decay 4e-5 of all parameters, cosine, the first epoch warmed up from a thousandth; no pretrained
backbone, no average of the weights, no clipping, 32 bits. Its augmentation "ssdlite" is a crop that keeps a minimal IoU
with a box, then a flip; the image is resized to 320×320.
"""

import torch
from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params
from fvcore.common.param_scheduler import CosineParamScheduler

from .data import dataloader
from .train import train

IMAGES = 117_266  # of train2017 that have boxes
BATCH = 192
EPOCH = IMAGES // BATCH

optimizer = L(torch.optim.SGD)(
    params=L(get_default_optimizer_params)(),  # params.model is set by the trainer
    lr=0.15,
    momentum=0.9,
    weight_decay=4e-5,
)
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(CosineParamScheduler)(start_value=1.0, end_value=0.0),
    warmup_factor=1e-3,
    warmup_length=1 / 660,
)
dataloader.train.total_batch_size = BATCH
train.max_iter = 660 * EPOCH
train.eval_period = 20 * EPOCH
