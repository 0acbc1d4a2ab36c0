"""What an example is: image files and their labels, splits, decoding and augmentation."""

from typing import Literal

# What the levels of an image folder are; see ``mixtransfer.data.layout``.
FolderLayout = Literal["auto", "split", "class", "nested"]
