"""MMDetection's schedule for SSDLite on MobileNetV2, which came to box AP 21.3 on COCO val2017 with it.

From its configs/ssd (ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py, metafile.yml): 600 epochs on 8 GPUs with 24 images
each, SGD at 0.015 with momentum 0.9 and weight decay 4e-5, cosine, 500 steps of warm-up from a thousandth; no
pretrained backbone. Its augmentation: expand up to 4 times, a crop that keeps a minimal IoU with a box, resize to
320×320, flip, photometric distortion.
"""

from .torchvision_660_epochs import EPOCH, dataloader, lr_multiplier, optimizer, train

optimizer.lr = 0.015
dataloader.train.mapper.augment.policy = "standard"
train.max_iter = 600 * EPOCH
train.eval_period = 25 * EPOCH
lr_multiplier.warmup_length = 500 / (600 * EPOCH)
