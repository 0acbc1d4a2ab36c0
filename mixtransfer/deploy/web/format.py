"""The format web: an ONNX file and a page around it."""

from mixtransfer.deploy.network import Rule
from mixtransfer.deploy.runtimes.base import Target
from mixtransfer.deploy.runtimes.onnxruntime import OnnxRuntime
from mixtransfer.deploy.web import package


class Web(OnnxRuntime):
    """ONNX as it is run by onnxruntime-web, from pixels to probabilities or boxes."""

    label = "ONNX Runtime Web"
    format = "web"
    is_site = True

    def rule(self, target: Target) -> Rule:
        # MixNet-S at 224 pixels, one image, one thread of Chromium's WebAssembly (2026-11-27): 60 ms apart, 89 merged;
        # MixNet-M 91 and 128. Dense 1×1 convolutions take another 7 ms.
        return Rule(False)

    def require_writers(self) -> None:
        super().require_writers()
        package.fetch()
