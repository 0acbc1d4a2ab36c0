"""PyTorch, as `classify predict` and `detect predict` run a run."""

from pathlib import Path

import numpy as np
import torch

from mixtransfer.backbones.fuse import for_inference
from mixtransfer.deploy.runtimes.base import Call, Runtime
from mixtransfer.deploy.source import Source


class PyTorch(Runtime):
    name = "pytorch"
    label = "PyTorch"
    in_torch = True

    def devices(self) -> list[str]:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return ["cpu", *([accelerator.type] if accelerator else [])]

    def prepare(self, source: Source, threads: int, folder: Path, device: str = "cpu") -> Call:
        """See ``Runtime``: eager, fused, channels last; of detectors from pixels to boxes."""
        if source.task == "detection":
            detector = torch.inference_mode()(source.model.to(device))

            def detect(images: np.ndarray) -> list[np.ndarray]:
                views = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
                return [found["instances"].scores.cpu().numpy() for found in detector([{"image": x} for x in views])]

            return detect
        model = for_inference(source.model, device)

        @torch.inference_mode()
        def classify(images: np.ndarray) -> list[np.ndarray]:
            batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
            return [model(batch).cpu().numpy()]

        return classify
