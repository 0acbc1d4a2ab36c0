"""Data sets that the library `datasets` reads: Parquet, WebDataset's shards, and by name the hub."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install 'mixtransfer[hub]'")

from tiny import tiny  # noqa: E402

from mixtransfer.classification.train import train  # noqa: E402
from mixtransfer.commandline.cli import main  # noqa: E402
from mixtransfer.data import packed  # noqa: E402
from mixtransfer.data.detection.load import load_detection_dataset  # noqa: E402
from mixtransfer.data.load import load_dataset  # noqa: E402
from mixtransfer.data.packed_source import Source  # noqa: E402
from mixtransfer.errors import UserError  # noqa: E402
from mixtransfer.runs.run_data import images_of_run  # noqa: E402

NAMES = ["zebra", "ape"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def encoded(i: int, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 24), (i, 255 - i, 7)).save(file, form)
    return file.getvalue()


def write_parquet(folder: Path, features: dict, **splits: dict) -> Path:
    (folder / "data").mkdir(parents=True)
    for split, columns in splits.items():
        table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def images(numbers, form="PNG"):
    return [{"bytes": encoded(i, form), "path": f"a photo/{i}.{form.lower()}"} for i in numbers]


@pytest.fixture
def classes(tmp_path) -> Path:
    features = {"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    parts = {"train": range(20), "test": range(40, 48)}
    return write_parquet(
        tmp_path / "pq",
        features,
        **{part: {"img": images(numbers), "label": [i % 2 for i in numbers]} for part, numbers in parts.items()},
    )


def test_parquet_is_written_out_once_with_bytes_and_names(classes, tmp_path, capsys):
    dataset = load_dataset(f"hf:{classes}", tmp_path / "root")
    assert dataset.classes == sorted(NAMES) and len(dataset.test) == 8 and len(dataset.train) + len(dataset.val) == 20
    for part in (dataset.train, dataset.val, dataset.test):
        for path, label in zip(part.images, part.labels, strict=True):
            number = int(path.stem.split("-")[-1])
            assert path.read_bytes() == encoded(number) and dataset.classes[label] == NAMES[number % 2]
    assert "is written out to" in capsys.readouterr().err
    states = {path: path.stat().st_mtime_ns for path in dataset.test.images}
    load_dataset(f"hf:{classes}", tmp_path / "root")
    assert {path: path.stat().st_mtime_ns for path in dataset.test.images} == states


def test_a_run_of_packed_data_finds_its_split_again(classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = train(tiny("hf:pq", tmp_path / "r", data_root=str(tmp_path / "root"), epochs=1))
    monkeypatch.chdir("/")
    assert run.read_config()["data"] == f"hf:{classes}"
    assert len(images_of_run(run).test) == 8
    assert main(["classify", "evaluate", str(run.folder), "--workers", "0"]) == 0


def test_shards_of_webdataset(tmp_path):
    (tmp_path / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(tmp_path / "shards" / f"train-{shard:04d}.tar", "w") as file:
            for i in range(10 * shard, 10 * shard + 10):
                for suffix, content in ((".jpg", encoded(i, "JPEG")), (".cls", str(i % 2).encode())):
                    member = tarfile.TarInfo(f"k{i}{suffix}")
                    member.size = len(content)
                    file.addfile(member, io.BytesIO(content))
    dataset = load_dataset(f"hf:{tmp_path / 'shards'}", tmp_path / "root")
    assert dataset.classes == ["0", "1"] and len(dataset.train) + len(dataset.val) + len(dataset.test) == 20
    assert all(path.suffix == ".jpg" for path in dataset.train.images)
    with pytest.raises(UserError, match="give it as hf:"):
        load_dataset(str(tmp_path / "shards"))


@pytest.mark.parametrize("nested", [True, False])
def test_objects_are_boxes_with_names(tmp_path, nested):
    label = datasets.ClassLabel(names=NAMES)
    if nested:
        kind = datasets.Sequence({"bbox": datasets.Sequence(datasets.Value("float32"), 4), "category": label})
        objects = [{"bbox": [[1, 2, 10, 12], [3, 3, 5, 5]], "category": [0, 1]}] * 12
    else:
        kind = [{"bbox": datasets.Sequence(datasets.Value("float32"), 4), "category": label}]
        objects = [[{"bbox": [1, 2, 10, 12], "category": 0}, {"bbox": [3, 3, 5, 5], "category": 1}]] * 12
    features = {"image": datasets.Image(), "objects": kind}
    columns = {"image": images(range(12)), "objects": objects}
    folder = write_parquet(tmp_path / "pq", features, train=columns)
    dataset = load_detection_dataset(f"hf:{folder}", tmp_path / "root")
    record = dataset.train[0]
    assert dataset.classes == sorted(NAMES)
    np.testing.assert_allclose(record.boxes, [[1, 2, 11, 14], [3, 3, 8, 8]])
    assert [dataset.classes[label] for label in record.labels] == NAMES
    assert main(["doctor", f"hf:{folder}", "--data-root", str(tmp_path / "root"), "--output", str(tmp_path / "x")]) == 0
    assert json.loads((tmp_path / "x" / "doctor.json").read_text())["task"] == "detect"


def test_a_test_part_without_labels_is_no_test_part_and_val_stands_not_for_it(tmp_path, capsys):
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    parts = {"train": range(30), "validation": range(30, 38), "test": range(40, 44)}
    folder = write_parquet(
        tmp_path / "pq",
        features,
        **{
            part: {"image": images(numbers), "label": [-1 if part == "test" else i % 2 for i in numbers]}
            for part, numbers in parts.items()
        },
    )
    dataset = load_dataset(f"hf:{folder}", tmp_path / "root")
    assert any("4 test images without a label" in note for note in dataset.notes)
    numbers = {
        part: {int(path.stem.split("-")[-1]) for path in getattr(dataset, part).images} for part in ("val", "test")
    }
    assert numbers["val"] == set(range(30, 38)) and numbers["test"] < set(range(30))


def test_of_several_columns_one_is_asked_for(tmp_path):
    features = {
        "image": datasets.Image(), "fine": datasets.ClassLabel(names=["a", "b"]),
        "coarse": datasets.ClassLabel(names=["x", "y"]),
    }  # fmt: skip
    columns = {"image": images(range(12)), "fine": [i % 2 for i in range(12)], "coarse": [i // 6 for i in range(12)]}
    folder = write_parquet(tmp_path / "pq", features, train=columns)
    with pytest.raises(UserError, match="several columns of classes, fine and coarse"):
        load_dataset(f"hf:{folder}", tmp_path / "root")
    assert load_dataset(f"hf:{folder}#coarse", tmp_path / "root").classes == ["x", "y"]


def test_an_interrupt_leaves_nothing_half(classes, tmp_path, monkeypatch):
    write = packed._image

    def interrupted(value, source, folder, part, number):
        if number == 5:
            raise KeyboardInterrupt
        return write(value, source, folder, part, number)

    monkeypatch.setattr(packed, "_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_dataset(f"hf:{classes}", tmp_path / "root")
    monkeypatch.setattr(packed, "_image", write)
    dataset = load_dataset(f"hf:{classes}", tmp_path / "root")
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 28


def test_a_row_reads_no_file_of_this_machine(tmp_path, capsys):
    """Only bytes, or files of the data set's own."""
    Image.new("RGB", (8, 8)).save(tmp_path / "private.png")
    rows = [*images(range(20)), {"bytes": None, "path": str(tmp_path / "private.png")}]
    (tmp_path / "pq" / "data").mkdir(parents=True)
    table = datasets.Dataset.from_dict({"image": rows, "label": [i % 2 for i in range(21)]})
    table.to_parquet(tmp_path / "pq" / "data" / "train-00000-of-00001.parquet")
    dataset = load_dataset(f"hf:{tmp_path / 'pq'}", tmp_path / "root")
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 20
    assert not any("private" in path.name for path in (tmp_path / "root").rglob("*"))
    assert "1 rows are no images" in capsys.readouterr().err


def test_what_cannot_be_had_is_one_sentence(tmp_path, monkeypatch):
    def unreachable(*_: object):
        raise ConnectionError("Couldn't reach 'user/name' on the Hub\nmore")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(UserError, match=r"hf:user/name cannot be read by datasets \(Couldn't reach .* Hub\)\.$"):
        load_dataset("hf:user/name", tmp_path)
    with pytest.raises(UserError, match="names no data set"):
        load_dataset("hf:", tmp_path)


def test_a_folder_that_has_changed_is_written_out_anew(classes, tmp_path, capsys):
    before = load_dataset(f"hf:{classes}", tmp_path / "root")
    table = datasets.Dataset.from_dict(
        {"img": images(range(100, 130)), "label": [i % 2 for i in range(30)]},
        features=datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}),
    )
    table.to_parquet(classes / "data" / "train-00000-of-00001.parquet")
    capsys.readouterr()
    after = load_dataset(f"hf:{classes}", tmp_path / "root")
    assert len(before.train) + len(before.val) == 20 and len(after.train) + len(after.val) == 30
    assert "has changed since it was written out" in capsys.readouterr().err


def test_numbers_beyond_the_names_are_no_labels(tmp_path, capsys, monkeypatch):
    features = {"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    folder = write_parquet(tmp_path / "pq", features, train={"img": images(range(12)), "label": [0, 1] * 6})
    real = packed._load

    def load(source):
        table = real(source)
        plain = table["train"].cast_column("label", datasets.Value("int64"))
        wrong = plain.map(lambda row, i: {"label": 5 if i == 0 else row["label"]}, with_indices=True)
        wrong.info.features = table["train"].features  # as a stranger's file may have it
        return {"train": wrong}

    monkeypatch.setattr(packed, "_load", load)
    dataset = load_dataset(f"hf:{folder}", tmp_path / "root")
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 11
    assert "1 rows have no label" in capsys.readouterr().err


def test_a_column_of_nothing_but_bytes_holds_images(tmp_path):
    features = {"image": datasets.Value("binary"), "label": datasets.ClassLabel(names=NAMES)}
    columns = {"image": [encoded(i) for i in range(12)], "label": [0, 1] * 6}
    dataset = load_dataset(f"hf:{write_parquet(tmp_path / 'pq', features, train=columns)}", tmp_path / "root")
    assert sum(map(len, (dataset.train, dataset.val, dataset.test))) == 12


def test_what_is_written_out_into_the_folder_itself_is_no_change_of_it(classes, tmp_path, capsys):
    load_dataset(f"hf:{classes}", classes / "root")
    capsys.readouterr()
    load_dataset(f"hf:{classes}", classes / "root")
    assert "written out" not in capsys.readouterr().err


def test_what_an_older_version_wrote_out_is_still_read(tmp_path, capsys):
    (tmp_path / "root" / "hf" / "user-my-set").mkdir(parents=True)
    assert packed.unpacked("hf:user/my-set", tmp_path / "root") == str(tmp_path / "root" / "hf" / "user-my-set")
    assert "which an older version wrote" in capsys.readouterr().err


def test_what_a_training_writes_into_the_folder_is_no_change_of_it(classes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(classes)
    load_dataset("hf:.")
    (classes / "runs" / "r").mkdir(parents=True)
    (classes / "runs" / "r" / "metrics.json").write_text("{}")
    (classes / ".cache").write_text("x")
    capsys.readouterr()
    load_dataset("hf:.")
    assert "written out" not in capsys.readouterr().err
    state = Source.parse("hf:.").state(classes / "data" / "hf")
    (classes / "runs" / "more.parquet").write_bytes(b"")
    assert Source.parse("hf:.").state(classes / "data" / "hf") != state


def test_of_two_splits_that_are_one_part_the_second_is_told(classes, tmp_path, capsys):
    source = Source.parse("hf:user/name")
    parts = packed._parts({"train": 1, "validation": 2, "dev": 3, "extra": 4}, source)
    assert parts == {"train": 1, "val": 2}
    assert "Left out of hf:user/name: the splits dev, extra." in capsys.readouterr().err


def test_no_folder_has_too_many_files(classes, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "IN_A_FOLDER", 6)
    dataset = load_dataset(f"hf:{classes}", tmp_path / "root")
    files = [file for part in dataset.parts.values() for file in part.images]
    folders = {file.parent for file in files}
    assert len(set(files)) == 28 and max(len(list(folder.iterdir())) for folder in folders) == 6
    assert len(folders) == 4 + 2
