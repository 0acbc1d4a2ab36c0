"""`mixtransfer doctor` on image folders, manifests and named data, as a user calls it."""

import csv
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from folders import make_folder
from photos import EDITS, photos
from PIL import Image

from mixtransfer.commandline.cli import main


def doctor(capsys, tmp_path, data, *words) -> tuple[int, dict, str]:
    """Exit code, --json, and what is said on standard error."""
    code = main(["doctor", str(data), "--json", "--output", str(tmp_path / "out"), *map(str, words)])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code != 2 else {}, err


def kinds(answer: dict) -> dict[str, dict]:
    return {finding["kind"]: finding for finding in answer["findings"]}


def names(finding: dict) -> set[frozenset[str]]:
    return {frozenset(Path(file).name for file in place["files"]) for place in finding["places"]}


@pytest.fixture
def healthy(tmp_path) -> Path:
    """Two classes of photographs, split, nothing wrong."""
    tiles = photos(24)
    for i, image in enumerate(tiles):
        folder = tmp_path / "set" / ("train" if i < 20 else "test") / ("cat", "dog")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{i}.jpg", quality=90)
    return tmp_path / "set"


def test_nothing_is_said_of_healthy_data_and_nothing_of_it_changes(healthy, tmp_path, capsys):
    def state():
        return {path: hashlib.md5(path.read_bytes()).digest() for path in healthy.rglob("*.*")}

    before = state()
    code, answer, _ = doctor(capsys, tmp_path, healthy)
    assert code == 0 and not answer["findings"] and not answer["to_drop"]
    assert answer["parts"] == {"train": 20, "test": 4} and answer["classes"]["train"] == {"cat": 10, "dog": 10}
    assert answer["statistics"]["images"]["width"] == {"least": 160, "median": 160, "most": 160}
    assert "Nothing stands in the way" in answer["verdict"]
    assert state() == before


def test_every_kind_of_copy_is_found_and_the_training_copy_dropped(healthy, tmp_path, capsys):
    train, test = healthy / "train", healthy / "test"
    shutil.copy(test / "cat" / "20.jpg", train / "cat" / "exact.jpg")
    EDITS["brighter"](Image.open(test / "dog" / "21.jpg")).save(train / "dog" / "near.jpg", quality=60)
    shutil.copy(train / "cat" / "0.jpg", train / "dog" / "contradicts.jpg")
    shutil.copy(train / "cat" / "2.jpg", train / "cat" / "again.jpg")
    EDITS["cropped"](Image.open(train / "cat" / "4.jpg")).save(train / "cat" / "burst.jpg")
    fixes = tmp_path / "fix.csv"
    code, answer, _ = doctor(capsys, tmp_path, healthy, "--fix-list", fixes)
    found = kinds(answer)
    assert code == 1 and answer["findings"][0]["severity"] == "error"
    assert names(found["leak"]) == {frozenset(("20.jpg", "exact.jpg"))}
    assert names(found["near_leak"]) == {frozenset(("21.jpg", "near.jpg"))}
    assert names(found["two_labels"]) == {frozenset(("0.jpg", "contradicts.jpg"))}
    assert names(found["near_copies"]) == {frozenset(("4.jpg", "burst.jpg"))}
    assert frozenset(("2.jpg", "again.jpg")) in names(found["copies"])
    rows = list(csv.DictReader(fixes.open(encoding="utf-8")))
    dropped = {Path(row["path"]).name: row["reason"] for row in rows}
    assert set(dropped) == {"exact.jpg", "near.jpg", "0.jpg", "contradicts.jpg", "again.jpg"}
    assert all(Path(row["path"]).is_file() for row in rows)
    assert dropped["exact.jpg"] == "the same as test/cat/20.jpg" and "cat and dog" in dropped["0.jpg"]


def test_after_the_fix_list_nothing_is_left_to_drop(healthy, tmp_path, capsys):
    for i in (0, 2, 4):
        shutil.copy(healthy / "train" / "cat" / f"{i}.jpg", healthy / "test" / "cat" / f"copy{i}.jpg")
        smaller = EDITS["smaller"](Image.open(healthy / "train" / "cat" / f"{i}.jpg"))
        smaller.save(healthy / "train" / "cat" / f"s{i}.jpg")
    (healthy / "train" / "dog" / "broken.jpg").write_bytes(b"no image")
    fixes = tmp_path / "fix.csv"
    assert doctor(capsys, tmp_path, healthy, "--fix-list", fixes)[0] == 1
    for row in csv.DictReader(fixes.open(encoding="utf-8")):
        Path(row["path"]).unlink()
    code, answer, _ = doctor(capsys, tmp_path, healthy)
    assert code == 0 and not answer["to_drop"] and not kinds(answer).keys() & {"leak", "near_leak", "copies"}


def test_files_of_every_odd_kind_are_named_with_the_reason(healthy, tmp_path, capsys):
    cats = healthy / "train" / "cat"
    (cats / "empty.jpg").write_bytes(b"")
    (cats / "text.png").write_text("no image")
    (cats / "cut.jpg").write_bytes((cats / "0.jpg").read_bytes()[:2000])
    Image.new("1", (20000, 9000)).save(cats / "bomb.png")
    Image.new("RGB", (99, 99), "blue").save(cats / "plain.png")
    photos(1)[0].resize((20, 20)).save(cats / "small.png")
    photos(1)[0].resize((600, 100)).save(cats / "panorama.png")
    photos(24)[23].save(cats / "really a png.jpg", "PNG")
    (cats / "phone.HEIC").write_bytes(b"heic")
    photos(24)[22].save(healthy / "forgotten ☃.jpg")
    _, answer, _ = doctor(capsys, tmp_path, healthy)
    found = kinds(answer)
    reasons = {place["text"] for place in found["unusable"]["places"]}
    assert reasons == {
        "train/cat/empty.jpg is empty (0 bytes)",
        "train/cat/text.png is not an image, whatever its name says",
        "train/cat/cut.jpg is truncated",
        "train/cat/bomb.png has more than 178 million pixels",
    }
    assert names(found["plain"]) == {frozenset(("plain.png",))}
    assert names(found["tiny"]) == {frozenset(("small.png",))}
    assert names(found["long"]) == {frozenset(("panorama.png",))}
    assert names(found["misnamed"]) == {frozenset(("really a png.jpg",))}
    texts = {place["text"].split(" is ")[0] for place in found["unlisted"]["places"]}
    assert texts == {"forgotten ☃.jpg", "train/cat/phone.HEIC"}


def test_classes_that_are_empty_small_or_spelled_twice(tmp_path, capsys):
    root = make_folder(tmp_path / "set" / "train", {"cat": 40, "dog": 3, "Dog ": 12, "horse": 12})
    (root / "fish").mkdir()
    make_folder(tmp_path / "set" / "test", {"cat": 2, "dog": 2, "Dog ": 2}, seed=1)
    code, answer, _ = doctor(capsys, tmp_path, tmp_path / "set")
    found = kinds(answer)
    assert code == 1 and [place["text"] for place in found["empty_class"]["places"]] == ["fish"]
    assert [place["text"] for place in found["untested_class"]["places"]] == ["horse"]
    assert "'Dog '" in found["spelling"]["places"][0]["text"]
    sentences = [finding["what"] for finding in answer["findings"] if finding["kind"] == "imbalance"]
    assert "dog 3" in sentences[0] and "13 times" in sentences[1]


def test_copies_in_data_without_a_split(tmp_path, capsys):
    (tmp_path / "set" / "a").mkdir(parents=True)
    for i, image in enumerate(photos(6)):
        image.save(tmp_path / "set" / "a" / f"{i}.png")
    EDITS["recompressed"](photos(1)[0]).save(tmp_path / "set" / "a" / "copy.jpg")
    code, answer, _ = doctor(capsys, tmp_path, tmp_path / "set")
    found = kinds(answer)
    assert names(found["copies_before_split"]) == {frozenset(("0.png", "copy.jpg"))}
    assert [Path(drop["file"]).name for drop in answer["to_drop"]] == ["copy.jpg"]
    assert code == 1 and "single_class" in found  # and one class is not enough


def test_a_single_image_is_data_too(tmp_path, capsys):
    make_folder(tmp_path / "set", {"only": 1})
    code, answer, _ = doctor(capsys, tmp_path, tmp_path / "set")
    assert code == 1 and answer["parts"] == {"all": 1}


@pytest.mark.parametrize("make", ["nothing", "empty", "no images", "text"])
def test_what_is_no_data_is_one_sentence(tmp_path, capsys, make):
    data = tmp_path / "data"
    if make in ("empty", "no images"):
        (data / ("cat" if make == "no images" else "")).mkdir(parents=True)
    elif make == "text":
        data.write_text("hello")
    code, _, err = doctor(capsys, tmp_path, data)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and str(data) in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(healthy, tmp_path, capsys):
    (healthy / "train" / "cat").chmod(0)
    try:
        code, _, err = doctor(capsys, tmp_path, healthy)
    finally:
        (healthy / "train" / "cat").chmod(0o755)
    assert code == 2 and "train/cat" in err


def test_a_manifest(healthy, tmp_path, capsys):
    rows = [f"{path.relative_to(healthy)},{path.parent.name}" for path in sorted(healthy.rglob("*.jpg"))]
    (healthy / "list.csv").write_text("\n".join(["path,label", *rows, "missing.jpg,cat"]))
    _, answer, _ = doctor(capsys, tmp_path, healthy / "list.csv")
    assert answer["parts"] == {"all": 25} and kinds(answer).keys() == {"unusable", "imbalance"}
    assert "there is no such file" in kinds(answer)["unusable"]["places"][0]["text"]
    few = "2 of 2 classes have fewer than 10 images to train on"  # as training will say: of 12 some are set aside
    assert kinds(answer)["imbalance"]["what"].startswith(few)


def test_a_manifest_that_lies_elsewhere(healthy, tmp_path, capsys):
    rows = [f"{path.name},{path.parent.name}" for path in sorted(healthy.rglob("*.jpg"))]
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "list.csv").write_text("\n".join(["path,label", *rows]))
    _, answer, _ = doctor(capsys, tmp_path, tmp_path / "tables" / "list.csv")
    assert [finding["kind"] for finding in answer["findings"]] == ["nothing", "unusable"]
    assert main(["classify", "train", str(tmp_path / "tables" / "list.csv")]) == 2
    assert f"paths are relative to the folder {tmp_path / 'tables'}" in capsys.readouterr().err


def test_named_data_in_memory(tmp_path, capsys):
    code, answer, _ = doctor(capsys, tmp_path, "digits", "--fix-list", tmp_path / "fix.csv")
    assert code == 0 and answer["statistics"]["images"]["images"] == 1797
    assert (tmp_path / "fix.csv").read_text() == "path,reason\n"


def test_the_page_escapes_names_and_shows_pictures(tmp_path, capsys):
    root = make_folder(tmp_path / "set", {"<script>alert(1)</script>": 12, "dog": 12}) if os.name != "nt" else None
    cats = next(folder for folder in root.rglob("*") if folder.is_dir() and any(folder.glob("*.jpg")))
    shutil.copy(cats / "000.jpg", cats / "<img src=x onerror=alert(2)>.jpg")
    assert main(["doctor", str(root), "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<script>" not in page and "<img src=x" not in page and "&lt;img src=x" in page
    assert page.count("data:image/jpeg;base64") >= 1
    assert "copies of one another" in said and "--fix-list" in said


def test_the_second_call_decodes_only_what_changed(healthy, tmp_path, capsys, monkeypatch):
    from mixtransfer.doctor import looking

    looked = []
    look = looking._look_at_file
    monkeypatch.setattr(looking, "_look_at_file", lambda path: looked.append(path) or look(path))
    first = doctor(capsys, tmp_path, healthy)[1]
    changed = healthy / "train" / "cat" / "0.jpg"
    changed.write_bytes(b"broken now")
    second = doctor(capsys, tmp_path, healthy)[1]
    assert len(looked) == 24 + 1 and looked[-1] == changed
    assert not first["findings"] and "unusable" in kinds(second)
    (tmp_path / "out" / "looks.sqlite").write_text("damaged")
    assert doctor(capsys, tmp_path, healthy)[1] == second


def test_an_interrupt_keeps_what_was_read(tmp_path, capsys, monkeypatch):
    from mixtransfer.doctor import looking

    make_folder(tmp_path / "set", {"a": 6, "b": 6}, size=32)
    monkeypatch.setattr(looking, "BATCH", 4)
    looked = []
    look = looking._look_at_file

    def interrupted(path):
        looked.append(path)
        if len(looked) == 10:
            raise KeyboardInterrupt
        return look(path)

    monkeypatch.setattr(looking, "_look_at_file", interrupted)
    assert main(["doctor", str(tmp_path / "set"), "--output", str(tmp_path / "out")]) == 130
    assert "The same command goes on" in capsys.readouterr().err
    looked.clear()
    monkeypatch.setattr(looking, "_look_at_file", lambda path: looked.append(path) or look(path))
    assert doctor(capsys, tmp_path, tmp_path / "set")[1]["parts"] == {"all": 12}
    assert len(looked) == 4


def test_output_that_holds_a_run_is_refused(healthy, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text("data: x")
    code, _, err = doctor(capsys, tmp_path, healthy)
    assert code == 2 and "choose another --output" in err


def test_noise_has_no_copies(tmp_path, capsys):
    (tmp_path / "set" / "a").mkdir(parents=True)
    for i in range(40):
        pixels = np.random.default_rng(i).integers(0, 256, (48, 48, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / "a" / f"{i}.png")
    assert "copies_before_split" not in kinds(doctor(capsys, tmp_path, tmp_path / "set")[1])


def test_names_that_are_no_text_are_remembered_too(tmp_path, capsys):
    data = make_folder(tmp_path / "set", {"cat": 3, "dog": 3})
    try:
        (data / "cat" / "000.jpg").rename(os.fsdecode(os.fsencode(data / "cat") + b"/\xff\xfe.jpg"))
    except OSError:
        pytest.skip("file names are text here")
    for _ in range(2):
        assert main(["doctor", str(data), "--output", str(tmp_path / "out")]) in (0, 1)
        assert "set: 6 images" in capsys.readouterr().out


def test_data_is_named_after_its_folder_and_shares_are_readable(tmp_path, capsys, monkeypatch):
    data = make_folder(tmp_path / "set" / "train", {"cat": 3, "dog": 3}).parent
    shutil.copytree(data / "train", data / "test")
    monkeypatch.chdir(data)
    main(["doctor", ".", "--output", str(tmp_path / "out")])
    out = capsys.readouterr().out
    assert out.startswith("set: 12 images") and "(100 % of the part)" in out


def test_boxes_of_no_images_are_one_sentence(tmp_path, capsys):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "annotations.json").write_text(
        '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}'
    )
    assert main(["doctor", str(tmp_path / "none"), "--task", "detect", "--output", str(tmp_path / "out")]) == 2
    assert "lists no images" in capsys.readouterr().err


def test_the_fix_list_never_names_the_only_copy(healthy, tmp_path, capsys):
    """A file that is listed twice is one file: dropped, nothing would be left of it."""
    lines = ["path,label,split", "train/cat/0.jpg,cat,train", "train/cat/0.jpg,cat,test"]
    lines += ["train/dog/1.jpg,dog,train", "train/dog/1.jpg,dog,train", "train/dog/3.jpg,dog,train"]
    shutil.copy(healthy / "train" / "dog" / "3.jpg", healthy / "again.jpg")
    lines += ["again.jpg,dog,train", "test/dog/21.jpg,dog,test", "test/cat/20.jpg,cat,train"]
    (healthy / "list.csv").write_text("\n".join(lines))
    _, answer, _ = doctor(capsys, tmp_path, healthy / "list.csv")
    assert [Path(entry["file"]).name for entry in answer["to_drop"]] == ["again.jpg"]
    found = kinds(answer)
    assert "have to be taken out of one of the lists" in found["leak"]["mend"]
    assert "1 image listed more than once in a part: each counts once." in answer["notes"]


def test_boxes_that_training_refuses(tmp_path, capsys):
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    from coco_sets import make_coco

    data = make_coco(tmp_path / "boxes", train=6, val=2, test=2)
    for file in data.rglob("*.json"):
        contents = json.loads(file.read_text())
        for box in contents["annotations"]:
            box["iscrowd"] = 1
        file.write_text(json.dumps(contents))
    code, answer, _ = doctor(capsys, tmp_path, data, "--task", "detect")
    assert code == 1 and kinds(answer)["part_without_boxes"]["severity"] == "error"
    assert main(["detect", "train", str(data), "--output", str(tmp_path / "r")]) == 2
    assert "has no box" in capsys.readouterr().err


def test_a_folder_of_links_elsewhere_says_so(healthy, tmp_path, capsys):
    (tmp_path / "links").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "links" / name).symlink_to(healthy / "train" / name)
    assert main(["doctor", str(tmp_path / "links"), "--output", str(tmp_path / "out")]) == 2
    assert "2 links to folders outside of it (cat, dog), which are not followed" in capsys.readouterr().err


def test_what_the_system_refuses_once_is_looked_at_again(healthy, tmp_path, capsys, monkeypatch):
    from mixtransfer.data import images

    def refused(*_args, **_named):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(images.Image, "open", refused)
        _, answer, _ = doctor(capsys, tmp_path, healthy)
        assert "cannot be read (Too many open files)" in kinds(answer)["unusable"]["places"][0]["text"]
    assert not doctor(capsys, tmp_path, healthy)[1]["findings"]


def test_formats_that_are_read_are_not_called_unread(healthy, tmp_path, capsys):
    for name, form in (("a.jp2", "JPEG2000"), ("b.webp", "WEBP")):
        photos(5)[4].save(healthy / "train" / "cat" / name, form)
    (healthy / "train" / "cat" / "raw.CR3").write_text("x")
    found = kinds(doctor(capsys, tmp_path, healthy)[1])
    assert [place["text"].split(" is ")[0] for place in found["unlisted"]["places"]] == ["train/cat/raw.CR3"]


@pytest.mark.parametrize("described", [False, True])
def test_data_through_a_link_is_listed_all_the_same(healthy, tmp_path, capsys, described):
    if described:
        rows = [f"{path.relative_to(healthy)},{path.parent.name}" for path in sorted(healthy.rglob("*.jpg"))]
        (healthy / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    (tmp_path / "link").symlink_to(healthy)
    assert "unlisted" not in kinds(doctor(capsys, tmp_path, tmp_path / "link")[1])
