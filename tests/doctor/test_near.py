"""Near duplicates, planted and not."""

from itertools import combinations

import numpy as np
import pytest
from photos import EDITS, photos

from mixtransfer.doctor.listing import list_data
from mixtransfer.doctor.looking import look_through
from mixtransfer.doctor.near import NEAREST, candidates, hashes_of, near_pairs


def found(folder, tmp_path):
    """Names of the pairs, and of all images."""
    listing = list_data(str(folder), "auto", tmp_path)
    looks = look_through(listing, tmp_path / "looks.sqlite")
    hashes = hashes_of([look.hash for look in looks])
    pairs = near_pairs(listing, hashes, np.arange(len(listing))).pairs
    return {tuple(listing.images[i].stem for i in pair) for pair in pairs.tolist()}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_is_found(tmp_path, edit):
    (tmp_path / "set" / "a").mkdir(parents=True)
    kinds = photos(10)
    for i, image in enumerate(kinds):
        image.save(tmp_path / "set" / "a" / f"{i}.png")
        EDITS[edit](image).convert("RGB").save(tmp_path / "set" / "a" / f"{i}x.png")
    pairs = found(tmp_path / "set", tmp_path)
    planted = {(str(i), f"{i}x") for i in range(len(kinds))}
    assert pairs <= planted and len(pairs) >= 9


def test_different_images_are_not_found(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    generator = np.random.default_rng(0)
    gradient = np.linspace(0, 1, 160)[:, None, None]
    from PIL import Image

    for i, image in enumerate(photos(24)):
        image.save(tmp_path / "set" / "a" / f"{i}.jpg")
    for i in range(24):  # plain skies: alike in everything but their noise
        sky = 120 + 100 * gradient * generator.uniform(0.5, 1, 3) + generator.normal(0, 3, (160, 160, 3))
        Image.fromarray(sky.clip(0, 255).astype(np.uint8)).save(tmp_path / "set" / "a" / f"sky{i}.jpg")
    assert not found(tmp_path / "set", tmp_path)


def test_candidates_are_those_that_a_loop_finds():
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**63, 150, dtype=np.uint64)
    hashes[100:140] = hashes[:40] ^ np.uint64(0b1011)  # three bits off
    expected = {
        (i, j): (int(hashes[i]) ^ int(hashes[j])).bit_count()
        for i, j in combinations(range(150), 2)
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= 20
    }
    pairs, bits = candidates(hashes, np.zeros(150, int), radius=20)
    assert dict(zip(map(tuple, pairs.tolist()), bits.tolist(), strict=True)) == expected and len(expected) > 40


def test_a_thousand_equal_hashes_give_a_bounded_number_of_candidates_in_every_part():
    parts = np.repeat([0, 1], 500)
    pairs, _ = candidates(np.zeros(1000, np.uint64), parts)
    assert len(pairs) <= 2 * NEAREST * 1000
    across = pairs[parts[pairs[:, 0]] != parts[pairs[:, 1]]]
    assert set(across[:, 0]) == set(range(500))


def test_published_near_duplicates_of_cifar10_are_found(shared_data, tmp_path):
    """Barz & Denzler (J. Imaging 2020) find copies of 3.3 % of the test images in the training part."""
    import tarfile

    names = ["test/horse/0907.jpg", "train/horse/3720.jpg", "test/cat/0065.jpg", "train/cat/3388.jpg"]
    folders = [f"{part}/{name}" for part in ("train", "test") for name in ("horse", "cat")]
    others = [f"{folder}/{i:04}.jpg" for folder in folders for i in range(1, 40)]
    with tarfile.open(shared_data / "cifar10.tar.gz") as archive:
        for member in archive:
            if member.name.removeprefix("cifar10/") in {*names, *others}:
                archive.extract(member, tmp_path, filter="data")
    pairs = found(tmp_path / "cifar10", tmp_path)
    assert {frozenset(pair) for pair in pairs} == {frozenset(("0907", "3720")), frozenset(("0065", "3388"))}
