"""The folder of `export --format web`: what is in it, and that its page answers as the run does."""

import contextlib
import json
import re
import shutil

import numpy as np
import pytest
import torch
from browsing import open_browser, serving_files
from enlivening import enliven
from exporting import needs
from knowing import knowing
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images

from mixtransfer.backbones import create_backbone
from mixtransfer.classification.model import model_bytes
from mixtransfer.commandline.cli import main
from mixtransfer.common.files import write_atomic
from mixtransfer.deploy.web import package
from mixtransfer.deploy.web.site import check_folder
from mixtransfer.errors import UserError
from mixtransfer.prediction import load

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def browser():
    with open_browser(*CAMERA) as browser:
        yield browser


@pytest.fixture(scope="module")
def npm():
    """onnxruntime-web is in the cache."""
    needs("onnx")
    try:
        package.fetch()
    except UserError as error:
        if "could not be fetched" not in str(error):
            raise
        pytest.skip("the npm registry cannot be reached")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Files as people have them: large and odd, turned by EXIF, transparent, of a palette, smaller than the input."""
    folder = tmp_path_factory.mktemp("photographs")
    first, second = map(Image.fromarray, load_sample_images().images)
    first.crop((3, 5, 514, 336)).save(folder / "odd.png")
    exif = second.getexif()
    exif[0x0112] = 6
    second.resize((185, 121)).save(folder / "turned.jpg", quality=95, exif=exif)
    clear = second.resize((211, 160)).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "clear.png")
    first.crop((200, 0, 300, 403)).quantize(64).save(folder / "palette.png", transparency=3)
    second.crop((300, 200, 327, 221)).save(folder / "small.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def spread(classifier, photographs, tmp_path_factory):
    """The classifier with weights that are always the same, and a head whose answers to the photographs differ."""
    run = tmp_path_factory.mktemp("runs") / "spread"
    shutil.copytree(classifier, run)
    torch.manual_seed(0)
    model = enliven(create_backbone("mobilenetv3_small_050.mixconv35", weights="none", num_classes=3))
    write_atomic(run / "model.safetensors", model_bytes(model))
    logits = np.log([answer.probabilities for answer in load(run, "cpu").predict(photographs)])
    weights = load_file(run / "model.safetensors")
    sharper = float(1 / logits.std(axis=0).mean())
    weights["classifier.bias"] = sharper * (weights["classifier.bias"] - torch.from_numpy(logits.mean(axis=0)))
    weights["classifier.weight"] *= sharper
    save_file(weights, run / "model.safetensors")
    return run


def exported(run, folder, *words):
    words = ["export", str(run), "--format", "web", "--output", str(folder), "--check", "2", *words]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def site(spread, npm, tmp_path_factory):
    """The classifier's folder."""
    return exported(spread, tmp_path_factory.mktemp("site") / "classifier")


class Page:
    """The page in a browser; what goes wrong in it is kept."""

    def __init__(self, browser, address):
        self.asked, self.wrong = [], []
        self.page = browser.new_page(viewport={"width": 360, "height": 740})
        self.page.on("request", lambda request: self.asked.append((request.method, request.url)))
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.wrong.append(said.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("#file:enabled")

    def show(self, file):
        """Choose a file, and wait for its answer."""
        self.page.evaluate("document.getElementById('time').textContent = ''")
        self.page.get_by_label("Choose an image").set_input_files(str(file))
        self.page.wait_for_selector("#time:has-text(' ms on this device')")

    def classes(self):
        """The probability of each class that is listed."""
        lines = self.page.locator("#answers li").all_inner_texts()
        found = [re.fullmatch(r"(\w+)\s+([\d.]+) %\s*", line) for line in lines]
        return {one[1]: float(one[2]) / 100 for one in found}

    def objects(self):
        """Class, score and box of each object that is listed."""
        form = r"(\w+)\s+([\d.]+) %\s+x ([\d.]+) to ([\d.]+), y ([\d.]+) to ([\d.]+) pixels"
        found = [re.fullmatch(form, line.strip()) for line in self.page.locator("#answers li").all_inner_texts()]
        return [(one[1], float(one[2]) / 100, [float(one[i]) for i in (3, 5, 4, 6)]) for one in found]


@pytest.fixture
def opened(browser):
    """Opens the page of a folder."""
    with contextlib.ExitStack() as stack:

        def open_page(folder):
            page = Page(browser, stack.enter_context(serving_files(folder)))
            stack.callback(page.page.close)
            return page

        yield open_page


def test_the_folder_has_all_that_the_page_needs(site, spread):
    names = {str(file.relative_to(site)) for file in site.rglob("*") if file.is_file()}
    own = {"index.html", "page.css", "page.js", "camera.js", "drawing.js", "model.js", "view.js", "resize.js"}
    theirs = {"ort.wasm.bundle.min.js", "ort-wasm-simd-threaded.wasm", "LICENSE.txt", "ThirdPartyNotices.txt"}
    assert names == own | {"model.onnx", "page.json"} | {f"onnxruntime-web/{name}" for name in theirs}
    text = (site / "page.json").read_text()
    assert json.loads(text)["classes"] == ["cat", "dog", "emu"] and json.loads(text)["name"] == spread.name
    assert str(spread.parent) not in text and str(site.parent) not in text, "nothing of this machine is published"


def test_several_labels_are_those_above_their_thresholds(spread, npm, opened, photographs, tmp_path):
    run = tmp_path / "several"
    shutil.copytree(spread, run)
    card = json.loads((run / "model.json").read_text())
    card["task"] = "multilabel"
    for thresholds in (np.full(3, 0.5), None):  # first any, then some that tell the photographs apart
        if thresholds is None:
            said = np.sort([answer.probabilities for answer in load(run, "cpu").predict(photographs)], axis=0)
            thresholds = said[1:3].mean(axis=0)
        card["details"]["thresholds"] = dict(zip(card["classes"], thresholds.tolist(), strict=True))
        (run / "model.json").write_text(json.dumps(card))
    page, model = opened(exported(run, tmp_path / "site")), load(run, "cpu")
    counts = set()
    for file in photographs:
        page.show(file)
        answer = model.predict(file)
        clear = np.abs(answer.probabilities - model.thresholds).min() > 1e-3
        summary = page.page.locator("#summary").inner_text()
        said = re.findall(r"(\w+), [\d.]+ %", summary)
        if clear:
            assert said == answer.labels and ("None of the labels" in summary) == (not said)
            counts.add(len(said))
        shown = page.classes()
        assert all(shown[name] == pytest.approx(p, abs=0.03) for name, p in answer.top(3))
    assert len(counts) > 1, "the photographs tell nothing"
    assert not page.wrong


def test_a_classifier_answers_as_its_run(site, spread, opened, photographs):
    page, model = opened(site), load(spread, "cpu")
    asked = len(page.asked)
    tops = set()
    for file in photographs:
        page.show(file)
        expected = model.predict(file)
        tops.add(expected.name)
        assert page.classes() == pytest.approx(dict(expected.top()), abs=2e-3), file.name
        assert page.page.get_by_role("heading", level=2).inner_text().startswith(f"{expected.name}, ")
    assert len(tops) > 1, "or any answer would do"
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 360, "nothing is wider than a phone"
    assert len(page.asked) == asked and {method for method, _ in page.asked} == {"GET"}, "no image goes anywhere"
    assert not page.wrong


def test_the_page_says_what_is_of_no_class(spread, animals, npm, opened, photographs, tmp_path):
    run = knowing(spread, animals, tmp_path / "knows")
    page, model = opened(exported(run, tmp_path / "site")), load(run, "cpu")
    Image.open(sorted(animals.rglob("*.jpg"))[0]).save(tmp_path / "known.png")
    told = []
    for file in (*photographs, tmp_path / "known.png"):
        page.show(file)
        told.append(page.page.get_by_role("heading", level=2).inner_text().startswith("Looks like none of the classes"))
        assert told[-1] == model.predict(file).unknown, file.name
    assert True in told and not told[-1], "or any answer would do"
    assert not page.wrong


def test_a_large_jpeg_is_nearly_what_training_saw(site, spread, opened, tmp_path):
    """Its decoder makes it smaller in a way of its own."""
    Image.fromarray(load_sample_images().images[1]).save(tmp_path / "large.jpg", quality=95)
    page = opened(site)
    page.show(tmp_path / "large.jpg")
    assert page.classes() == pytest.approx(dict(load(spread, "cpu").predict(tmp_path / "large.jpg").top()), abs=0.05)


@pytest.fixture(scope="module", params=["warp", "letterbox"])
def boxes(request, detector, npm, tmp_path_factory):
    """A detector's run, and its folder."""
    folder = tmp_path_factory.mktemp("boxes")
    run = folder / "run"
    shutil.copytree(detector, run)
    card = json.loads((run / "model.json").read_text())
    card["preprocessing"]["resize"] = request.param
    card["details"]["thresholds"] = {"cat": 0.6, "dog": 0.5, "emu": 0.62}
    (run / "model.json").write_text(json.dumps(card))
    return run, exported(run, folder / "site")


def test_a_detector_answers_as_its_run(boxes, opened, photographs):
    run, folder = boxes
    page, model = opened(folder), load(run, "cpu")
    for file in photographs:
        page.show(file)
        found, expected = page.objects(), list(model.predict(file))
        assert len(expected) > 5 and len(found) == len(expected)
        for name, score, box in found:  # scores that are nearly the same may change places
            one = min(expected, key=lambda one: (one.name != name, np.abs(np.subtract(one.box, box)).max()))
            expected.remove(one)
            assert name == one.name and score == pytest.approx(one.score, abs=2e-3)
            assert box == pytest.approx(one.box, abs=0.5), file.name
    assert not page.wrong


def test_thresholds_follow_the_slider(boxes, opened, photographs):
    page = opened(boxes[1])
    page.show(photographs[0])
    before = page.objects()
    page.page.get_by_label("Of").select_option("cat")
    page.page.get_by_label("Smallest score", exact=True).fill("0.7")
    page.page.wait_for_function("document.getElementById('score').textContent === '0.70'")
    after = page.objects()
    assert {name for name, _, _ in before} == {"cat", "dog", "emu"}
    assert after == [one for one in before if one[0] != "cat" or one[1] > 0.7] != before
    page.page.get_by_role("button", name="As chosen in training").click()
    assert page.objects() == before


def test_camera_clipboard_and_dropping(site, opened, photographs, tmp_path):
    page = opened(site)
    page.page.get_by_role("button", name="Use the camera").click()
    for _ in range(2):  # it goes on
        page.page.evaluate("document.getElementById('time').textContent = ''")
        page.page.wait_for_selector("#time:has-text(' ms on this device')")
    page.page.get_by_role("button", name="Stop the camera").click()
    page.page.get_by_role("button", name="Use the camera").wait_for()
    page.show(photographs[0])
    first = page.classes()
    for kind, where in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.show(photographs[-1])
        assert page.classes() != first
        bytes_ = list(photographs[0].read_bytes())
        code = """([kind, where, bytes]) => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(bytes)], "x.png", { type: "image/png" }));
            const event = kind === "drop" ? new DragEvent(kind, { [where]: files, bubbles: true, cancelable: true })
                : new ClipboardEvent(kind, { [where]: files, bubbles: true });
            document.getElementById("time").textContent = "";
            document.body.dispatchEvent(event);
        }"""
        page.page.evaluate(code, [kind, where, bytes_])
        page.page.wait_for_selector("#time:has-text(' ms on this device')")
        assert page.classes() == first
    (tmp_path / "notes.txt").write_text("no image")
    page.page.get_by_label("Choose an image").set_input_files(str(tmp_path / "notes.txt"))
    page.page.get_by_text("notes.txt is no image that this browser can show.").wait_for()
    assert not page.wrong


def test_the_page_may_reach_no_other_place(site, opened):
    """The same server by another name is one that would answer."""
    code = """() => new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        fetch(`http://elsewhere.example:${location.port}/`, { method: "POST", body: "an image", mode: "no-cors" })
            .then(() => resolve("sent"), () => {});
    })"""
    assert opened(site).page.evaluate(code) == "connect-src"


def test_16_bits_answer_as_the_run(spread, npm, opened, photographs, tmp_path):
    page, model = opened(exported(spread, tmp_path / "site", "--precision", "fp16")), load(spread, "cpu")
    for file in photographs:
        page.show(file)
        assert page.classes() == pytest.approx(dict(model.predict(file).top()), abs=0.02)
    assert not page.wrong


def test_8_bits_run_in_the_browser(spread, npm, opened, photographs, tmp_path):
    """What they answer by a network that learnt nothing, each processor's rounding decides."""
    page = opened(exported(spread, tmp_path / "site", "--int8", "--int8-limit", "100"))
    page.show(photographs[0])
    assert page.classes().keys() == {"cat", "dog", "emu"} and sum(page.classes().values()) == pytest.approx(1, abs=0.01)
    assert not page.wrong


def test_files_of_others_are_left_alone(classifier, site, npm, capsys):
    before = (classifier / "model.json").read_bytes()
    assert main(["export", str(classifier), "--format", "web", "--output", str(classifier)]) == 2
    assert "holds other files: give a new folder" in capsys.readouterr().err
    assert (classifier / "model.json").read_bytes() == before
    check_folder(site)  # an earlier page may be written anew


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--raw"], "--raw is not for web"), (["--opset", "20"], "--opset is of ONNX; web has none")],
)
def test_what_a_page_cannot_have(words, says, detector, capsys):
    needs("onnx")
    assert main(["export", str(detector), "--format", "web", *words]) == 2
    assert says in capsys.readouterr().err
