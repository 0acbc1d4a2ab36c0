"""Where a class is read from: maps against closed forms, and against networks of which it is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from enlivening import enliven
from PIL import Image
from scipy.stats import spearmanr
from torch import nn

import mixtransfer as mt
from mixtransfer.classification.explain import ClassMaps
from mixtransfer.commandline.cli import main
from mixtransfer.data.preprocessing import Normalize, Preprocessing
from mixtransfer.errors import UserError


class Colours(nn.Module):
    """Class 0 is red, 1 green and 2 blue: the mean of that channel."""

    num_classes = 3

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 16, 16, groups=3, bias=False)
        nn.init.constant_(self.stem.weight, 1 / 256)
        self.classifier = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.classifier.weight.copy_(torch.eye(3))

    def forward_features(self, images):
        return self.stem(images)

    def forward_head(self, features, pre_logits=False):
        pooled = features.mean((2, 3))
        return pooled if pre_logits else self.classifier(pooled)


PLAIN = Preprocessing(64, 1.0, "bilinear", (0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def halves():
    """Red on the left, green on the right, darker below."""
    view = np.zeros((64, 64, 3), np.uint8)
    view[:, :32, 0], view[:, 32:, 1] = 255, 255
    view[32:] //= 2
    return view


def test_a_class_is_read_from_its_place(halves):
    maps = ClassMaps(Colours().eval(), PLAIN)
    red, green = maps.explain(np.stack([halves, halves]), [0, 1], ["red", "green", "blue"])
    assert (red.name, green.name) == ("red", "green")
    for found, side in ((red.weights, found_left), (green.weights, found_right)):
        shown, hidden = side(found)
        assert shown.max() > 0.99 and hidden.max() < 0.01
        assert shown[:16].mean() == pytest.approx(2 * shown[-16:].mean(), rel=0.05), "half as bright, half as much"
    drawn = np.asarray(red.drawn())
    assert drawn.shape == (64, 64, 3) and drawn.dtype == np.uint8
    assert drawn[:16, :16].mean() > 1.5 * drawn[:16, -16:].mean(), "the brighter the more"


def found_left(weights):
    return weights[:, :24], weights[:, 40:]


def found_right(weights):
    return weights[:, 40:], weights[:, :24]


def test_where_nothing_speaks_for_a_class_the_map_is_dark(halves):
    (blue,) = ClassMaps(Colours().eval(), PLAIN).explain(halves[None], [2], ["red", "green", "blue"])
    assert not blue.weights.any() and blue.drawn().size == (64, 64)


@pytest.mark.parametrize("name", ["mixnet_s", "efficientnet_lite0", "resnet10t"])
def test_of_a_pooled_network_it_is_the_class_activation_map(name):
    """Zhou et al.: the last map, weighted by the weights of the class."""
    torch.manual_seed(0)
    model = enliven(timm.create_model(name, num_classes=5)).eval()
    preprocessing = Preprocessing.of(model, 96)
    views = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    found = ClassMaps(model, preprocessing)._maps(views, [4, 0, 2])
    with torch.inference_mode():
        features = model.forward_features(Normalize(preprocessing)(torch.from_numpy(views).permute(0, 3, 1, 2)))
        weights = model.get_classifier().weight[[4, 0, 2]]
        expected = torch.einsum("nkhw,nk->nhw", features, weights).relu()
        expected = expected / expected.amax((1, 2), keepdim=True).clamp(min=1e-12)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert found.max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "last"), [("mixnet_s", "bn2"), ("mobilenetv3_small_050", "blocks"), ("convnext_atto", "stages")]
)
def test_maps_are_captums(name, last):
    """Of whatever head, pooled before a layer or behind it."""
    captum = pytest.importorskip("captum.attr", reason="captum is not installed: pip install 'mixtransfer[dev]'")
    torch.manual_seed(0)
    model = enliven(timm.create_model(name, num_classes=5)).eval()
    preprocessing = Preprocessing.of(model, 96)
    views = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    inputs = Normalize(preprocessing)(torch.from_numpy(views).permute(0, 3, 1, 2))
    labels = torch.tensor([4, 0, 2])
    theirs = captum.LayerGradCam(model, getattr(model, last)).attribute(inputs, labels, relu_attributions=True)[:, 0]
    theirs = theirs / theirs.amax((1, 2), keepdim=True).clamp(min=1e-12)
    found = ClassMaps(model, preprocessing)._maps(views, labels.tolist())
    np.testing.assert_allclose(found, theirs.detach().numpy(), atol=1e-4)
    assert found.max() == pytest.approx(1)


def test_it_is_of_the_network_not_of_the_image_alone(halves):
    """Adebayo et al., "Sanity checks for saliency maps": with other weights the map is another."""
    torch.manual_seed(0)
    name = "efficientnet_lite0"
    views = np.random.default_rng(1).integers(0, 256, (8, 224, 224, 3), np.uint8)
    preprocessing = Preprocessing.of(timm.create_model(name))
    networks = [enliven(timm.create_model(name, num_classes=3)).eval() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    nn.init.normal_(networks[1].classifier.weight, std=0.1)
    of_head = [ClassMaps(model, preprocessing)._maps(views, [0] * 8).ravel() for model in networks]
    assert abs(spearmanr(*of_head).statistic) < 0.5
    networks[1] = enliven(timm.create_model(name, num_classes=3)).eval()
    of_all = [ClassMaps(model, preprocessing)._maps(views, [0] * 8).ravel() for model in networks]
    assert abs(spearmanr(*of_all).statistic) < 0.5


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "vit_base_patch16_siglip_gap_224"])
def test_maps_of_other_shapes(name):
    """Channels last, and tokens: bright where the features are changed that the class is read from."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3).eval()
    forward = model.forward_features

    def in_a_corner(images):
        features = forward(images)
        mask = torch.zeros(14, 14)
        mask[:4, -4:] = 1
        if features.ndim == 4:
            return features * mask[::2, ::2, None]
        return features * mask.flatten()[:, None]

    model.forward_features = in_a_corner
    model.forward_head = lambda features, pre_logits=False: features.flatten(1, -2).mean(1)[:, :3] + 0 * features.sum()
    views = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    for label in range(3):
        (found,) = ClassMaps(model, Preprocessing.of(model)).explain(views, [label], "abc")
        if found.weights.any():
            assert found.weights[:90, -90:].max() > 0.9 and not found.weights[120:].any()
            return
    raise AssertionError("no class speaks anywhere")


def test_a_service_may_forbid_gradients(halves):
    maps = ClassMaps(Colours().eval(), PLAIN)
    (expected,) = maps.explain(halves[None].copy(), [0], "rgb")
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            (found,) = maps.explain(halves[None].copy(), [0], "rgb")
            assert np.array_equal(found.weights, expected.weights)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "coat_tiny", "pit_ti_224"])
def test_a_network_without_a_map_says_so(name):
    model = timm.create_model(name, num_classes=3).eval()
    with pytest.raises(UserError, match="does not answer by a map of the image"):
        ClassMaps(model, Preprocessing.of(model)).explain(np.zeros((1, 224, 224, 3), np.uint8), [0], "abc")


def test_pictures_of_predict(finished, colours, tmp_path, capsys):
    images = [next((colours / "test" / name).iterdir()) for name in ("dog", "cat")]
    assert images[0].name == images[1].name, "names that are not free any more"
    words = ["classify", "predict", str(finished.folder), *map(str, images), "--explain", str(tmp_path / "why")]
    assert main([*words, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    stem = images[0].stem
    assert [row["explained"] for row in rows] == [str(tmp_path / "why" / f"{name}.jpg") for name in (stem, f"{stem}-2")]
    model = mt.load(finished.folder)
    for row, image in zip(rows, images, strict=True):
        expected = np.asarray(model.explain(image).drawn()).astype(float)
        assert np.abs(np.asarray(Image.open(row["explained"])) - expected).mean() < 8  # it is a JPEG file
        assert model.explain(image).name == row["top"][0]["class"]
    (tmp_path / "file").write_text("")
    assert main([*words[:-1], str(tmp_path / "file")]) == 2
    assert "of --explain cannot be written" in capsys.readouterr().err


def test_a_class_by_its_name(finished, colours):
    model = mt.load(finished.folder)
    image = next((colours / "test" / "dog").iterdir())
    assert model.explain(image, "two words").name == "two words"
    with pytest.raises(UserError, match="does not know the class 'mouse'"):
        model.explain(image, "mouse")


def test_an_exported_file_cannot_be_looked_into(finished, colours, tmp_path, capsys):
    file = tmp_path / "m.pt2"
    assert main(["export", str(finished.folder), "--format", "torch", "--output", str(file), "--check", "1"]) == 0
    image = next((colours / "test" / "dog").iterdir())
    assert main(["classify", "predict", str(file), str(image), "--explain", str(tmp_path / "why")]) == 2
    assert "--explain is for runs" in capsys.readouterr().err and not (tmp_path / "why").exists()
    model = mt.load(file)
    assert not model.explains and mt.load(finished.folder).explains
    with pytest.raises(UserError, match="cannot be looked into"):
        model.explain(image)


def test_the_page_shows_it_on_a_click(finished, colours, tmp_path):
    from mixtransfer.app.answers import look
    from mixtransfer.app.html import show
    from mixtransfer.app.models import open_models

    models = open_models([str(finished.folder)], "cpu")
    asked = []
    models[0] = replace(
        models[0], explain=lambda image, name: asked.append(name) or mt.load(finished).explain(image, name)
    )
    answers = look([next((colours / "test" / "dog").iterdir())], models, 9, 9, lambda done, total: None)
    assert show(answers, [0], None, tmp_path).count("<img") == 1
    assert show(answers, [0], None, tmp_path, explained=True).count("<img") == 2
    assert asked == [answers.images[0].answers[0].seen.name], "of the answer, not of the preview's"


def test_the_report_shows_what_the_surest_mistakes_were_read_from(finished):
    page = (finished.folder / "report.html").read_text()
    assert "the more it spoke for the wrong class" in page


def test_the_report_explains_the_wrong_answer_not_the_true_class(halves):
    from mixtransfer.classification.metrics import Predictions
    from mixtransfer.classification.report import _explained

    test = Predictions.from_logits(np.array([[0.0, 9.0, 0.0]], np.float32), np.array([0]))
    (picture,) = _explained(
        [(0, Image.fromarray(halves))], test, ["red", "green", "blue"], ClassMaps(Colours().eval(), PLAIN)
    )
    drawn = np.asarray(picture)[:, 64:].astype(float)
    assert drawn[:16, 48:].mean() > 1.5 * drawn[:16, :16].mean(), "the green side"
