"""Fine-tuning and using image classifiers, on Lightning."""
