"""The hub's conventions: timm opens a run's folder, and a repository is what it says it is."""

import json
import re
import shutil
from unittest.mock import MagicMock

import numpy as np
import pytest
import timm
import torch
import yaml
from folders import make_folder
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from tiny import TINY

import mixtransfer as mt
from mixtransfer.classification.timm_config import timm_config
from mixtransfer.commandline.cli import main
from mixtransfer.hub import PUBLISHED
from mixtransfer.runs.model_card import ModelCard

OPTIONS = {**TINY, "batch_size": 8, "lr": 5e-4, "epochs": 1}


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("secret place") / "animals", {"cat": 12, "dog": 12})


@pytest.fixture(scope="module")
def run(animals, tmp_path_factory):
    return mt.train(animals, output=tmp_path_factory.mktemp("runs") / "r", **OPTIONS)


@pytest.mark.parametrize("backbone", ["mixnet_s", "mobilenetv3_small_050", "efficientnet_lite0", "test_vit"])
def test_timm_opens_a_runs_folder_with_the_same_answers(animals, tmp_path, backbone):
    size = {"test_vit": 160}.get(backbone, 64)
    run = mt.train(animals, output=tmp_path / "r", **{**OPTIONS, "backbone": backbone, "image_size": size})
    model = timm.create_model(f"local-dir:{run.folder}", pretrained=True).eval()
    seen = timm.data.resolve_model_data_config(model)
    ours = mt.load(run)
    assert tuple(seen["input_size"]) == (3, size, size) and seen["crop_pct"] == ours.preprocessing.crop
    images = [Image.open(file) for file in sorted((animals / "cat").iterdir())[:4]]
    views = np.stack([ours.preprocessing.central_view(image) for image in images])
    mean, std = (torch.tensor(seen[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        theirs = model((torch.from_numpy(views).permute(0, 3, 1, 2) / 255 - mean) / std).softmax(1).numpy()
    np.testing.assert_allclose(theirs, [answer.probabilities for answer in ours.predict(images)], atol=1e-4)


def test_networks_that_timm_does_not_know_have_no_such_file(animals, tmp_path):
    options = {**OPTIONS, "backbone": "mobilenetv3_small_050.mixconv35"}
    run = mt.train(animals, output=tmp_path / "r", **options)
    assert timm_config(ModelCard.read(run.model)) is None and not (run.folder / "config.json").exists()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder that stands for the hub: what is uploaded, where it can be downloaded from."""
    root = tmp_path / "hub"

    def create_repo(self, name, private=None, exist_ok=False, **_):
        (root / name).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, *, repo_id, folder_path, **_):
        shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)

    def snapshot_download(name, revision=None, allow_patterns=None, **_):
        if not (root / name).is_dir():
            raise FileNotFoundError(f"404: {name}")
        return str(root / name)

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return root


def test_what_is_pushed_loads_again(run, animals, hub):
    address = mt.push(run, "me/animals", data_license="CC BY 4.0", intended_use="Counting <cats>.")
    assert address.endswith("/me/animals")
    folder = hub / "me" / "animals"
    assert {path.name for path in folder.iterdir()} == set(PUBLISHED)
    file = next((animals / "cat").iterdir())
    there, here = (mt.load(source).predict(file) for source in ("hf-hub:me/animals", run))
    assert there == here and there.known is not None


def test_nothing_of_this_machine_is_published(run, animals, hub, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    paths = {"weights": f"{animals.parent}/start.safetensors", "augment": f"{animals.parent}/mine.yaml"}
    (copy / "config.yaml").write_text(yaml.safe_dump({**config, **paths}))
    mt.push(copy, "me/animals")
    (copy / "config.yaml").write_text(yaml.safe_dump({**config, "weights": "../secret/start.safetensors"}))
    mt.push(copy, "me/others")
    assert b"secret" not in (hub / "me" / "others" / "config.yaml").read_bytes()
    for path in (hub / "me" / "animals").iterdir():
        data = path.read_bytes()
        assert str(animals.parent).encode() not in data and str(run.folder.parent).encode() not in data, path.name
    assert yaml.safe_load((hub / "me" / "animals" / "config.yaml").read_text())["data"] == "animals"


@pytest.mark.parametrize(
    "place", ["/srv/secret/", "secret/below/", "C:\\secret\\", "secret\\below\\", "\\\\secret\\share\\"]
)
def test_no_option_publishes_where_its_file_is(run, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    files = {"data": "animals.csv", "weights": "start.pt", "augment": "mine.yaml", "backbone": "net.json"}
    places = {"output": "r", "resume": "r", "data_root": "data", "dist_url": "meet"}
    given = {name: place + file for name, file in {**files, **places}.items()}
    absolute = {"recipe": {"of": ["/srv/secret/a", "C:\\secret\\a", "../secret/a"]}, "group_by": r"/(\d+)/"}
    config = {**yaml.safe_load((copy / "config.yaml").read_text()), **given, **absolute}
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    card = json.loads((copy / "model.json").read_text())
    del card["details"]["start"]  # as of a run that does not know it: the page tells what the options say
    (copy / "model.json").write_text(json.dumps(card))
    mt.push(copy, "me/animals", output="out")
    for path in (tmp_path / "out").iterdir():
        assert b"secret" not in path.read_bytes(), path.name
    published = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert {name: published[name] for name in files} == {**files, "data": "animals"}
    assert not published.keys() & places.keys()
    assert published["recipe"] == {"of": ["a", "a", "a"]} and published["group_by"] == r"/(\d+)/"
    assert {name: published[name] for name in OPTIONS if name not in files} == {
        name: OPTIONS[name] for name in OPTIONS if name not in files
    }


def test_the_model_card_says_what_people_ask(run, animals, hub):
    mt.push(run, "me/animals", license="mit", data_license="CC BY 4.0", intended_use="Counting <cats>.")
    text = (hub / "me" / "animals" / "README.md").read_text()
    head, page = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL).groups()
    metadata = yaml.safe_load(head)
    assert metadata["license"] == "mit" and metadata["pipeline_tag"] == "image-classification"
    assert metadata["library_name"] == "timm"
    top1 = run.read_metrics()["test"]["top1"]
    tested = run.split.read_text().count(",test,")
    between = f"{100 * top1['value']:.2f} ({100 * top1['low']:.1f} to {100 * top1['high']:.1f})"
    for words in ("cat, dog", "CC BY 4.0", "Counting <cats>.", between, " ms in PyTorch", f"On {tested} images"):
        assert words in page, words
    snippets = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:  # as they stand, with the stand-in in the place of the hub
        local = snippet.replace(
            'timm.create_model("hf-hub:me/animals"', f'timm.create_model("local-dir:{hub}/me/animals"'
        )
        exec(local.replace("image.jpg", str(next((animals / "dog").iterdir()))), {"print": lambda *_: None})


def test_the_command_writes_to_a_folder_instead(run, tmp_path, capsys):
    words = ["push", str(run.folder), "me/animals", "--output", str(tmp_path / "out")]
    assert main(words) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(PUBLISHED)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["label_names"] == ["cat", "dog"]
    assert main(words) == 2 and "is not empty" in capsys.readouterr().err


def test_what_the_hub_does_not_have_is_one_sentence(hub, run, tmp_path):
    with pytest.raises(mt.UserError, match="hf-hub:me/none cannot be had from the hub"):
        mt.load("hf-hub:me/none")
    copy = tmp_path / "begun"
    shutil.copytree(run.folder, copy)
    (copy / "metrics.json").unlink()
    with pytest.raises(mt.UserError, match="is not finished"):
        mt.push(copy, "me/none")


def test_licences_are_told(run, capsys, monkeypatch):
    assert ModelCard.read(run.model).details["start"] == {"weights": "none"}
    assert main(["models", "--family", "mixnet", "--json"]) == 0
    assert {row["license"] for row in json.loads(capsys.readouterr().out)} >= {"apache-2.0"}
    from mixtransfer.backbones.registry import backbone_spec
    from mixtransfer.backbones.weights import describe_start, tell_license

    said = []
    for name, forbids in (("mixnet_s", False), ("convnextv2_atto.fcmae", True)):
        start = describe_start(backbone_spec(name), "imagenet")
        assert start["license"]
        said.clear()
        tell_license(start, said.append)
        assert bool(said) is forbids and all("cc-by-nc-4.0" in sentence for sentence in said)


ODD = [None, 5, b"me/animals", ["me", "animals"], object, {}]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_what_is_no_run_and_no_path_is_said(run, odd, tmp_path):
    for use in (mt.load, lambda one: mt.push(one, "me/animals"), mt.export, lambda one: mt.compare([run, one])):
        with pytest.raises(mt.UserError, match="A run, its folder or another path or name is needed, not"):
            use(odd)
    with pytest.raises(mt.UserError):
        mt.compare(odd, output=tmp_path / "c")


def test_a_place_that_cannot_be_looked_at_is_said(run, tmp_path):
    for use in (mt.load, lambda one: mt.push(one, "me/animals"), mt.export, mt.compare, lambda x: mt.compare([run, x])):
        with pytest.raises(mt.UserError, match="xx cannot be looked at .File name too long"):
            use("x" * 5000)
        with pytest.raises(mt.UserError):
            use(tmp_path)


@pytest.mark.parametrize("name", [*ODD, "", "me", "a/b/c", "a b/c", "me/..", "me/x.git", "ä/ö", "/x", "x/", "m/" * 60])
def test_what_is_no_name_of_a_repository_is_said_before_anything_is_done(run, hub, name, tmp_path):
    for more in ({}, {"output": tmp_path / "out"}):
        with pytest.raises(mt.UserError, match="is no name of a repository: give it as USER/NAME"):
            mt.push(run, name, **more)
    assert not hub.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", [{"license": 5}, {"data_license": ["a"]}, {"intended_use": 5}, {"private": "yes"}, {"output": 5}], ids=str
)
def test_arguments_of_push_of_another_kind_are_said(run, hub, wrong, tmp_path):
    with pytest.raises(mt.UserError, match=f"^{next(iter(wrong))} takes "):
        mt.push(run, "me/animals", **{"output": tmp_path / "out", **wrong})


def test_a_folder_that_push_cannot_write_is_said(run, tmp_path):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file" / "below", "a\0b", "x" * 5000):
        with pytest.raises(mt.UserError, match="cannot be written"):
            mt.push(run, "me/animals", output=output)


@pytest.mark.parametrize("error", [HfHubHTTPError, ConnectionError, TimeoutError, ValueError, OSError, RuntimeError])
def test_a_hub_that_fails_is_one_sentence(run, hub, monkeypatch, error):
    def fails(*_, **__):
        if error is HfHubHTTPError:
            raise error("502 Server Error\n\nfor url", response=MagicMock())
        raise error("no\nway")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    monkeypatch.setattr(HfApi, "upload_folder", fails)
    for use in (lambda: mt.load("hf-hub:me/animals"), lambda: mt.push(run, "me/animals")):
        with pytest.raises(mt.UserError, match=rf"me/animals cannot be .*{error.__name__}") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_repository_without_a_model_of_ours_is_named_as_it_was_given(hub):
    (hub / "me" / "other").mkdir(parents=True)
    with pytest.raises(mt.UserError, match="^hf-hub:me/other holds no model that mixtransfer has pushed"):
        mt.load("hf-hub:me/other")


def test_odd_devices_and_backbones_are_said(run, animals):
    for device in (None, 5, "gpu", "meta"):
        with pytest.raises(mt.UserError, match=f"--device {device} cannot be used here"):
            mt.load(run, device)
    assert mt.load(run, torch.device("cpu")).classes == ["cat", "dog"]
    for backbones in (5, b"mixnet_s", [None], {"mixnet_s": 1}):
        with pytest.raises(mt.UserError, match="backbones takes names, not"):
            mt.compare(animals, backbones=backbones)


def test_a_run_of_ones_own_trainer_without_scores_is_told_how_to_get_them(run, tmp_path):
    copy = tmp_path / "own"
    shutil.copytree(run.folder, copy)
    (copy / "metrics.json").unlink()
    config = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump({**config, "weights": "not recorded"}))
    with pytest.raises(mt.UserError, match="has no scores: write it by save_run with data="):
        mt.push(copy, "me/animals")
