"""What an example is: image files and their labels, splits, decoding and augmentation."""
