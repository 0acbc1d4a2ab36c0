"""Fine-tune small, accurate image models on your own data, and compare them honestly with ResNet-50."""

__version__ = "0.1.0"
