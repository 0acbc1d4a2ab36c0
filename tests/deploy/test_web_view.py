"""What the page of `export --format web` shows the network of an image."""

import base64
import io

import numpy as np
import pytest
from browsing import open_browser, serving_files
from PIL import Image

from mixtransfer.data.detection.square import Square
from mixtransfer.data.images import load_image
from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.deploy.metadata import CROP_MODES, Metadata
from mixtransfer.deploy.web.site import PAGE, describe


@pytest.fixture(scope="module")
def seen():
    """What view.js makes of an image, uint8 (height, width, 3), by the description of a model."""
    code = """async ([text, width, height, model]) => {
        const { view } = await import(new URL("view.js", location));
        const rgb = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        const data = new Uint8ClampedArray(4 * width * height);
        for (let i = 0; i < width * height; i++) data.set(rgb.subarray(3 * i, 3 * i + 3), 4 * i);
        model.fill.push(255);
        return Array.from(view({ data, width, height }, model));
    }"""
    with open_browser() as browser, serving_files(PAGE) as address:
        page = browser.new_page()
        page.goto(address)

        def see(pixels, metadata):
            height, width, _ = pixels.shape
            text = base64.b64encode(pixels.tobytes()).decode()
            found = page.evaluate(code, [text, width, height, describe(metadata)])
            return np.array(found).reshape(metadata.preprocessing.size, -1, 3)

        yield see
        page.close()


SIZES = [(90, 40), (30, 200), (64, 64), (517, 389), (1, 7)]


def noise(width, height):
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    return np.asarray(smooth.resize((width, height), Image.Resampling.BOX))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_a_classifier_is_shown_what_it_was_trained_on(mode, interpolation, seen):
    for crop in (0.875, 1.0):
        preprocessing = Preprocessing(33, crop, interpolation, crop_mode=mode)
        for size in SIZES:
            pixels, file = noise(*size), io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            expected = preprocessing.central_view(load_image(file, preprocessing.min_side))
            found = seen(pixels, Metadata("classification", "x", ["a"], preprocessing, True, ["probabilities"]))
            difference = np.abs(found - expected.astype(int))
            assert difference.max() <= 1 and difference.mean() < 0.05, size  # weights such as ninths make ties


@pytest.mark.parametrize("resize", CROP_MODES)
def test_a_detector_is_shown_what_it_was_trained_on(resize, seen):
    preprocessing = Preprocessing(65, 1.0, "bilinear", crop_mode=CROP_MODES[resize])
    for size in SIZES:
        expected = Square(65, resize).view(noise(*size))
        found = seen(noise(*size), Metadata("detection", "x", ["a"], preprocessing, True, []))
        difference = np.abs(found - expected.astype(int))
        assert difference.max() <= 2 and difference.mean() < 0.2, size  # OpenCV interpolates in whole numbers
