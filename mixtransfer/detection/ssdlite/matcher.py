"""Which anchor answers for which object (Liu et al., ECCV 2016, section 2.2)."""

import torch


class SSDMatcher:
    """Assign anchors to the objects of an image.

    An anchor answers for the object that it overlaps most, if their IoU reaches the threshold. Then each object gets
    the anchor that overlaps it most, however little; if several claim one anchor, the last has it. An object that no
    anchor overlaps gets none: detectron2's ``Matcher`` would give it every anchor.

    Args:
        threshold: IoU from which an anchor is positive.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold

    def __call__(self, iou: torch.Tensor) -> torch.Tensor:
        """For each anchor the index of its object, or -1: (objects, anchors) → (anchors,)."""
        objects, anchors = iou.shape
        nobody = torch.full((anchors,), -1, dtype=torch.int64, device=iou.device)
        if objects == 0:
            return nobody
        best, matches = iou.max(dim=0)
        matches = torch.where(best >= self.threshold, matches, nobody)
        overlap, anchor = iou.max(dim=1)
        claims = torch.where(overlap > 0, torch.arange(objects, device=iou.device), -1)
        # The largest index wins, also on GPUs, where plain assignment would leave it to chance.
        claimed = nobody.scatter_reduce(0, anchor, claims, "amax")
        return torch.where(claimed >= 0, claimed, matches)
