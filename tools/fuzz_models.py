"""Inputs for the readers of weights, checkpoints and exported files."""

import json
import struct

import numpy as np
import safetensors.torch
import torch
from fuzz_archives import archives, opened, pt2_file, torch_file, torchscript
from fuzz_inputs import altered, changed
from hypothesis import strategies as st

from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.deploy.metadata import Metadata


def description() -> str:
    preprocessing = Preprocessing(8, 0.9, "bicubic", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    return Metadata("classification", "mixnet_s", ["a", "b"], preprocessing, False, ["logits"]).to_json()


def _weights() -> dict[str, torch.Tensor]:
    return {"stem.weight": torch.ones(4, 3, 3, 3), "stem.bias": torch.zeros(4), "steps": torch.tensor(7)}


def pt2_inputs() -> st.SearchStrategy[bytes]:
    return archives([opened(pt2_file(description))])


def torch_inputs() -> st.SearchStrategy[bytes]:
    """Archives, files of torch before 1.6 with bytes changed, TorchScript, and pickles."""
    nested = {"state_dict": _weights(), "rows": [{"loss": 0.5}], "name": "x"}
    valid = [opened(torch_file(_weights())), opened(torch_file(nested)), opened(torchscript())]
    older = [torch_file(_weights(), new=False), torch_file(nested, new=False)]
    return st.one_of(archives(valid), archives(valid), st.sampled_from(older).flatmap(altered))


def safetensors_inputs() -> st.SearchStrategy[bytes]:
    valid = safetensors.torch.save(_weights())
    length = struct.unpack("<Q", valid[:8])[0]
    header, body = json.loads(valid[8 : 8 + length]), valid[8 + length :]

    def joined(text: str) -> bytes:
        encoded = text.encode("utf-8", "surrogatepass")
        return struct.pack("<Q", len(encoded)) + encoded + body

    return st.one_of(changed(header).map(json.dumps).map(joined), altered(valid))


def onnx_inputs() -> st.SearchStrategy[bytes]:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def model(place: str | None) -> bytes:
        weight = numpy_helper.from_array(np.ones((2, 192), np.float32), "weight")
        if place:
            weight.ClearField("raw_data")
            weight.data_location = TensorProto.EXTERNAL
            for key, value in {"location": place, "offset": "0", "length": "1536"}.items():
                weight.external_data.add(key=key, value=value)
        graph = helper.make_graph(
            [
                helper.make_node("Flatten", ["images"], ["flat"]),
                helper.make_node("Gemm", ["flat", "weight"], ["logits"], transB=1),
            ],
            "g",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
            [weight],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.helper.set_model_props(made, {"mixtransfer": description()})
        return made.SerializeToString()

    places = [None, None, None, "../x", "/etc/passwd", "*/_ORT_MEM_ADDR_/*", "model.onnx"]
    return st.sampled_from([model(place) for place in places]).flatmap(altered)
