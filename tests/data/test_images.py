"""Every kind of file that people have: used if it can be, named with the reason if not."""

import os
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from mixtransfer.data.images import find_unusable, is_image_name, load_image, unusable_reason, upright_size


@pytest.fixture
def photo(tmp_path):
    gradient = np.linspace(0, 255, 40 * 60 * 3).reshape(40, 60, 3).astype(np.uint8)
    path = tmp_path / "photo.jpg"
    Image.fromarray(gradient).save(path, quality=95)
    return path


def test_modes_become_upright_rgb(tmp_path):
    grey = np.linspace(0, 255, 30 * 20).reshape(30, 20).astype(np.uint8)
    rgb = Image.fromarray(np.stack([grey, grey[::-1], 255 - grey], axis=-1))
    variants = {
        "grey.png": Image.fromarray(grey),
        "palette.png": rgb.quantize(16),
        "cmyk.jpg": rgb.convert("CMYK"),
        "bilevel.png": Image.fromarray(grey > 127),
        "alpha.png": rgb.convert("RGBA"),
        "grey_alpha.png": rgb.convert("LA"),
        "one_pixel.png": rgb.resize((1, 1)),
        "bitmap.bmp": rgb,
        "web.webp": rgb,
        "naïve name with spaces ☃.png": rgb,
    }
    for name, image in variants.items():
        image.save(tmp_path / name)
        loaded = load_image(tmp_path / name)
        assert loaded.mode == "RGB" and loaded.size == image.size, name


def test_sixteen_bit_grey_keeps_its_tones(tmp_path):
    values = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    loaded = np.asarray(load_image(tmp_path / "deep.png"))[..., 0]
    np.testing.assert_allclose(loaded, values / 257, atol=1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_more_than_8_bits_have_one_scale_whatever_a_file_holds(tmp_path, suffix):
    """12 bits in 16: the dark image's largest value is below 256."""
    tones = {}
    for name, mean in (("dark", 120), ("bright", 3500), ("white", 65535)):
        Image.fromarray(np.full((8, 8), mean, np.uint16)).save(tmp_path / f"{name}.{suffix}")
        tones[name] = load_image(tmp_path / f"{name}.{suffix}").getpixel((4, 4))[0]
    assert tones["dark"] < tones["bright"] < tones["white"] == 255


@pytest.mark.parametrize("min_side", [None, 10])
def test_a_colour_is_the_same_in_every_mode_and_format(tmp_path, min_side):
    red = Image.new("RGB", (80, 60), (220, 30, 30))
    lab = ImageCms.profileToProfile(
        red, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lab.save(tmp_path / "lab.tif")
    red.convert("CMYK").save(tmp_path / "cmyk.tif")
    red.quantize(4).save(tmp_path / "palette.png")
    red.convert("RGBA").save(tmp_path / "alpha.png")
    for name in ("plain.avif", "plain.jp2", "plain.webp", "plain.jpg"):
        red.save(tmp_path / name)
    for path in tmp_path.iterdir():
        assert is_image_name(path)
        assert load_image(path, min_side).getpixel((3, 3)) == pytest.approx((220, 30, 30), abs=6), path.name


@pytest.mark.parametrize("min_side", [None, 20])
def test_scans_of_one_bit_are_images(tmp_path, min_side):
    page = Image.fromarray(np.random.default_rng(0).random((200, 160)) < 0.3)
    page.save(tmp_path / "page.png")
    page.save(tmp_path / "page.tif", compression="group4")
    for path in tmp_path.iterdir():
        assert np.asarray(load_image(path, min_side)).mean() == pytest.approx(255 * 0.3, abs=3)


def test_broken_metadata_says_nothing_about_the_pixels(tmp_path):
    """A text where EXIF has numbers, and the orientation behind it, which can be read."""
    entries = struct.pack("<HHI4s", 0x102, 2, 4, b"8,8\0") + struct.pack("<HHI4s", 0x112, 3, 1, b"\6\0")
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + b"\0\0\0\0"
    Image.new("RGB", (40, 20), "red").save(tmp_path / "odd.jpg", exif=exif)
    assert load_image(tmp_path / "odd.jpg").size == upright_size(tmp_path / "odd.jpg") == (20, 40)
    Image.new("RGB", (40, 20), "red").save(tmp_path / "junk.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\1" * 40)
    assert load_image(tmp_path / "junk.jpg").size == upright_size(tmp_path / "junk.jpg") == (40, 20)


def test_transparency_becomes_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (np.asarray(load_image(tmp_path / "clear.png")) == 255).all()


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "moving.gif").getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("min_side", [None, 10])
def test_exif_orientation_is_applied(tmp_path, min_side):
    upright = Image.new("RGB", (40, 80), "white")
    upright.paste("red", (0, 0, 40, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: to be turned by 90° clockwise
    upright.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    loaded = load_image(tmp_path / "turned.jpg", min_side)
    width, height = loaded.size
    assert height == 2 * width
    assert loaded.getpixel((width // 2, height // 4))[1] < 60 < loaded.getpixel((width // 2, 3 * height // 4))[1]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_upright_size_is_that_of_the_decoded_image(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        Image.new("RGB", (30, 20)).save(path, exif=exif)
        assert upright_size(path) == load_image(path).size


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_reduced_decoding_keeps_enough_pixels(tmp_path, suffix):
    large = Image.effect_mandelbrot((1600, 1200), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    large.save(tmp_path / f"large.{suffix}")
    reduced = load_image(tmp_path / f"large.{suffix}", min_side=200)
    assert 200 <= min(reduced.size) < 400
    reference = np.asarray(large.resize(reduced.size, Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(reduced).astype(int) - reference).mean() < 6


def test_huge_image_is_used_and_a_bomb_refused(tmp_path):
    Image.new("L", (10_000, 10_000), 99).save(tmp_path / "huge.png")
    assert min(load_image(tmp_path / "huge.png", min_side=448).size) >= 448
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    assert unusable_reason(tmp_path / "bomb.png") == "has more than 178 million pixels"


def test_reasons_name_what_is_wrong(tmp_path, photo):
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    paths = [photo, *(tmp_path / name for name in ("cut.jpg", "empty.jpg", "text.jpg", "gone.jpg"))]
    reasons = find_unusable(paths, progress=False)
    assert reasons == {
        paths[1]: "is truncated",
        paths[2]: "is empty (0 bytes)",
        paths[3]: "is not an image, whatever its name says",
        paths[4]: "there is no such file",
    }


def test_hidden_files_are_no_images(tmp_path):
    assert is_image_name(tmp_path / "A.JPEG")
    assert not is_image_name(tmp_path / "._A.jpg")
    assert not is_image_name(tmp_path / "notes.txt")


def test_a_pipe_is_no_image_and_is_not_waited_for(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    for name in ("pipe.jpg", "link.jpg"):
        assert unusable_reason(tmp_path / name) == "is a pipe or a device, no file"
