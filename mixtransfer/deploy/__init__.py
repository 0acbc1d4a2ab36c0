"""Fast networks for use: fusion, export, checks against PyTorch, runtimes."""
