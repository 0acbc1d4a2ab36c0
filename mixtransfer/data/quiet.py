"""albumentations, by its one door: imported elsewhere it asks the package registry for a newer version."""

from mixtransfer.common.host import environment

with environment(NO_ALBUMENTATIONS_UPDATE="1"):
    import albumentations as A

__all__ = ["A"]
