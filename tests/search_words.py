"""The options of a search of some seconds."""

WORDS = ["--budget-macs", "2e6", "--image-size", "32", "--epochs", "1", "--batch-size", "16", "--workers", "0"]
WORDS += ["--trials", "5", "--population", "3"]
