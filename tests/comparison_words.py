"""Words of `compare` for studies of a few seconds."""

SMALL, LARGE = "mobilenetv3_small_050", "mobilenetv3_small_075"
TINY = ["--weights", "none", "--epochs", "1", "--image-size", "32", "--batch-size", "8", "--workers", "0"]
