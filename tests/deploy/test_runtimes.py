"""Every runtime computes the same numbers."""

import subprocess
import sys

import pytest
import torch
from exporting import needs

from mixtransfer.backbones import create_backbone
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.deploy.runtimes import RUNTIMES
from mixtransfer.deploy.source import Source


@pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=list(RUNTIMES))
def test_runtimes_agree_with_the_network(runtime, tmp_path):
    if not runtime.installed:
        pytest.skip(f"{runtime.label} is not installed: pip install 'mixtransfer[{runtime.extra}]'")
    torch.manual_seed(0)
    model = create_backbone("mobilenetv3_small_050.mixconv35", weights="none", num_classes=5).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics other than 0 and 1
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        expected = model(images)
    source = Source(None, "classification", "mobilenetv3_small_050.mixconv35", model, Preprocessing(64), list("abcde"))
    if not getattr(runtime, "runs_here", True):
        pytest.skip(f"{runtime.label} does not run on this system")
    if runtime.name == "litert":
        needs("litert")
    call = runtime.prepare(source, 1, tmp_path)
    for batch in (1, 3):
        (found,) = call(images[:batch].numpy())
        torch.testing.assert_close(torch.as_tensor(found), expected[:batch], atol=1e-4, rtol=1e-3)


def test_openvino_models_may_end_in_any_order():
    """A plugin that ends after a younger one would leave the process a signal stack that is freed."""
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'mixtransfer[export]'")
    code = """
import signal, subprocess
import numpy as np, openvino
from openvino import opset13
from mixtransfer.deploy.runtimes.openvino import compile_openvino

images = opset13.parameter([-1, 4], np.float32)
model = openvino.Model([opset13.relu(images)], [images], "relu")
first, second = (compile_openvino(model, 1, 1) for _ in range(2))
del first
del second
signal.signal(signal.SIGCHLD, lambda *_: print("signalled"))
subprocess.run(["true"])
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout.strip()) == (0, "signalled"), answer.stderr
