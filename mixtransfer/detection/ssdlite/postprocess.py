"""From every anchor's scores to the detections of an image."""

import torch
from torchvision.ops import batched_nms


def best_detections(
    scores: torch.Tensor,
    boxes: torch.Tensor,
    score_threshold: float | torch.Tensor,
    candidates_per_class: int,
    nms_threshold: float,
    limit: int,
    class_agnostic: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The detections with the highest scores, best first, without duplicates.

    Of each class the ``candidates_per_class`` best anchors above the threshold go through non-maximum suppression,
    and ``limit`` of what is left is returned, as in torchvision's SSD. Suppression goes from the best candidate
    downwards, so the first ``limit`` survivors depend on the best candidates only: as few are looked at as it takes,
    where torchvision looks at all (up to 24,000 at 80 classes).

    Args:
        scores: (anchors, classes).
        boxes: (anchors, 4) as x1, y1, x2, y2, shared by the classes.
        score_threshold: Candidates score more than this; of each class, shape (classes,), or one for all.
        candidates_per_class: See above.
        nms_threshold: A candidate is dropped if its IoU with a better one of its class is larger.
        limit: The largest number of detections.
        class_agnostic: Whether the better one may be of any class.

    Returns:
        Boxes (n, 4), scores (n,) and classes (n,).
    """
    num_classes = scores.shape[1]
    everything = scores.flatten()
    least = torch.as_tensor(score_threshold, device=scores.device).expand(num_classes)
    count = 3 * limit
    while True:
        count = min(count, len(everything))
        top, index = everything.topk(count)
        exhausted = count == len(everything) or bool(top[-1] <= least.min())
        kept = top > least[index % num_classes]
        top, index = top[kept], index[kept]
        anchors, classes = index // num_classes, index % num_classes
        kept = _rank_in_class(classes) < candidates_per_class
        top, anchors, classes = top[kept], anchors[kept], classes[kept]
        rivals = torch.zeros_like(classes) if class_agnostic else classes
        kept = batched_nms(boxes[anchors], top, rivals, nms_threshold)[:limit]
        if exhausted or len(kept) == limit:
            return boxes[anchors[kept]], top[kept], classes[kept]
        count *= 4


def _rank_in_class(classes: torch.Tensor) -> torch.Tensor:
    """How many earlier entries have the same class: (n,) → (n,)."""
    order = classes.argsort(stable=True)
    position = torch.arange(len(classes), device=classes.device)
    first = torch.searchsorted(classes[order], classes[order])  # where the class begins in the sorted list
    return torch.empty_like(position).scatter_(0, order, position - first)
