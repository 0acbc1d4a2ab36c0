"""`--preview`: what the network would see, and nothing is trained."""

import base64
import io
import re

import numpy as np
import torch
from folders import make_folder
from PIL import Image
from tiny import tiny

from mixtransfer.classification.datamodule import ImageDataModule
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.preview import write_preview
from mixtransfer.classification.train import train
from mixtransfer.commandline.cli import main
from mixtransfer.data.load import load_dataset
from mixtransfer.data.preprocessing import Preprocessing


def pictures(page: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def test_the_page_has_the_first_batches_of_the_training(tmp_path):
    data = make_folder(tmp_path / "d", {"cat": 20, "dog": 20}, size=64)
    options = tiny(data, tmp_path / "r", augment="strong", mixup=0.0, cutmix=0.0)
    page = write_preview(options).read_text()
    dataset = load_dataset(str(data))
    loaders = ImageDataModule.of(dataset, Preprocessing(32), options)
    images, labels = next(iter(loaders.train_dataloader()))
    shown = pictures(page)
    assert len(shown) == 3 * len(images) + len(dataset.val)
    for view, picture in zip(images, shown, strict=False):
        assert np.abs(view.permute(1, 2, 0).numpy().astype(int) - picture).mean() < 12  # as a JPEG
    captions = re.findall(r"<span>(.*?)</span></li>", page)
    assert captions[: len(labels)] == [dataset.classes[label] for label in labels]


def test_mixed_images_have_the_shares_of_their_classes(tmp_path):
    data = make_folder(tmp_path / "d", {"cat": 20, "dog": 20}, size=64)
    page = write_preview(tiny(data, tmp_path / "r", mixup=1.0)).read_text()
    shares = re.findall(r"(\d+) % (?:cat|dog), (\d+) % (?:cat|dog)", page)
    assert shares and all(99 <= int(one) + int(other) <= 101 for one, other in shares)


def test_nothing_is_trained_and_options_are_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "d", {"cat": 12, "dog": 12})
    words = ["classify", "train", "d", "--backbone", "mobilenetv3_small_050", "--preview"]
    assert main(words) == 0  # no weights are fetched
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["d-preview.html"]
    assert main([*words, "--output", "out/r"]) == 0 and (tmp_path / "out" / "r-preview.html").exists()
    assert main([*words, "--min-crop", "2"]) == 2
    assert main(["doctor", "d", "--preview", "--output", "doc"]) == 0
    assert len(pictures((tmp_path / "doc" / "preview.html").read_text())) > 15
    assert "Preview: doc/preview.html" in capsys.readouterr().out


def test_the_doctor_says_why_there_is_no_preview(tmp_path, capsys):
    make_folder(tmp_path / "d", {"cat": 12, "dog": 2})
    assert main(["doctor", str(tmp_path / "d"), "--preview", "--output", str(tmp_path / "doc")]) == 1
    out = capsys.readouterr().out
    assert "Preview: none: The class 'dog' of" in out and "✗ The class 'dog' of d has too few images (2)" in out


def test_a_run_can_be_previewed_again_with_other_workers(tmp_path):
    """By its own configuration."""
    data = make_folder(tmp_path / "d", {"cat": 12, "dog": 12})
    run = train(tiny(data, tmp_path / "r", epochs=1), say=lambda _: None)
    path = write_preview(TrainOptions(resume=str(run.folder), workers=1), tmp_path / "p.html", lambda _: None)
    assert len(pictures(path.read_text())) > 5 and "At 32 pixels" in path.read_text()


def test_mixing_goes_by_the_seed_too(tmp_path):
    data = make_folder(tmp_path / "d", {"cat": 20, "dog": 20}, size=64)
    pages = []
    for seed in (0, 0, 1):
        torch.rand(3)  # whatever has been drawn before
        options = tiny(data, tmp_path / "r", mixup=1.0, seed=seed)
        pages.append(pictures(write_preview(options, tmp_path / "p.html", lambda _: None).read_text()))
    assert all(np.array_equal(*pair) for pair in zip(pages[0], pages[1], strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(pages[0], pages[2], strict=True))


def test_the_doctors_preview_is_of_the_data_as_it_was_read(tmp_path, capsys):
    for name in ("cat", "dog"):
        make_folder(tmp_path / "d" / name, {"young": 6, "old": 6}, seed=ord(name[0]))
    words = ["doctor", str(tmp_path / "d"), "--preview", "--output", str(tmp_path / "doc"), "--layout", "class"]
    main([*words, "--group-by", r"00[0-9]"])
    said = capsys.readouterr().out
    assert "Preview: none" not in said, said
    page = (tmp_path / "doc" / "preview.html").read_text()
    assert {"cat", "dog"} >= set(re.findall(r"<span>(\w+)</span></li>", page)) and "24 images in 6 groups" in page
