"""A second opinion on Core ML files where no Mac is: their operations, computed by PyTorch."""

from pathlib import Path

import coremltools
import numpy as np
import torch
import torch.nn.functional as F
from coremltools.converters.mil.frontend.milproto.load import load


def conv(x, weight, strides, pad_type, pad, dilations, groups, bias=None):
    assert pad_type in ("custom", "valid")
    if pad_type == "custom":
        top, bottom, left, right = pad
        x = F.pad(x, (left, right, top, bottom))
    return F.conv2d(x, weight, bias, tuple(strides), 0, tuple(dilations), int(groups))


KINDS = {"int32": torch.int32, "fp16": torch.float16, "fp32": torch.float32}
OPERATIONS = {
    "conv": conv,
    "batch_norm": lambda x, mean, variance, gamma, beta, epsilon: F.batch_norm(
        x, mean, variance, gamma, beta, eps=float(epsilon)
    ),
    "relu": lambda x: x.relu(),
    "thresholded_relu": lambda x, alpha: x.where(x > alpha, 0),
    "sigmoid_hard": lambda x, alpha, beta: (alpha * x + beta).clamp(0, 1),
    "sigmoid": lambda x: x.sigmoid(),
    "silu": lambda x: F.silu(x),
    "clip": lambda x, alpha, beta: x.clamp(float(alpha), float(beta)),
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "reduce_mean": lambda x, axes, keep_dims: x.mean(tuple(axes), bool(keep_dims)),
    "reshape": lambda x, shape: x.reshape(tuple(shape)),
    "transpose": lambda x, perm: x.permute(tuple(perm)),
    "concat": lambda values, axis, interleave: torch.cat(values, int(axis)),
    "linear": lambda x, weight, bias: F.linear(x, weight, bias),
    "softmax": lambda x, axis: x.softmax(int(axis)),
    "identity": lambda x: x,
    "cast": lambda x, dtype: x.to(KINDS[dtype]),
}


def evaluate(package: Path, images: np.ndarray) -> list[np.ndarray]:
    """The outputs of an .mlpackage for float32 images (1, 3, size, size), in float32."""
    model = coremltools.models.MLModel(str(package), skip_model_load=True)
    specification = model.get_spec()
    function = load(specification, specification.specificationVersion, model.weights_dir).functions["main"]
    known = {function.inputs["images"]: torch.from_numpy(images)}

    def value(variable):
        if isinstance(variable, list | tuple):
            return [value(part) for part in variable]
        constant = known.get(variable, variable.val)
        if not isinstance(constant, np.ndarray):
            return constant
        return torch.from_numpy(constant.copy()) if constant.dtype.kind == "f" and constant.ndim else constant

    for operation in function.operations:
        if operation.op_type == "const":
            continue
        if operation.op_type == "classify":
            return [value(operation.inputs["probabilities"]).float().numpy()]
        given = {name: value(one) for name, one in operation.inputs.items() if one is not None and name != "name"}
        known[operation.outputs[0]] = OPERATIONS[operation.op_type](**given)
    return [torch.as_tensor(value(output)).float().numpy() for output in function.outputs]
