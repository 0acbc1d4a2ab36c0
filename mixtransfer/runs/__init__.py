"""What a training keeps and shares: the Run folder with its card and data, checkpoints, loggers, the schedule."""
