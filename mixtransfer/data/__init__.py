"""What an example is: image files and their labels, splits, decoding and augmentation."""

import os

# Otherwise albumentations asks the package registry for a newer version whenever it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
