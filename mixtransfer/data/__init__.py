"""What an example is: image files and their labels, splits, decoding and augmentation."""

import os
from typing import Literal

# What the levels of an image folder are; see ``mixtransfer.data.layout``.
FolderLayout = Literal["auto", "split", "class", "nested"]

# Otherwise albumentations asks the package registry for a newer version whenever it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
