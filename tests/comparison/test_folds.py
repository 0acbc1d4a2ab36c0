"""`compare --folds`: every image is tested once by each seed, by a network that has not seen it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from comparison_words import LARGE, SMALL, TINY
from folders import make_folder

from mixtransfer.commandline.cli import main
from mixtransfer.comparison.outcomes import ClassificationOutcome
from mixtransfer.comparison.statistics import paired_difference
from mixtransfer.data.split_file import Split
from mixtransfer.runs.run import Run

QUICK = ["--backbones", f"{SMALL},{LARGE}", "--seeds", "2", "--rounds", "0", *TINY]


def answer(capsys, *words) -> tuple[int, str, str]:
    """Exit code, standard output and errors of `compare`."""
    capsys.readouterr()
    code = main(["compare", *map(str, words)])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def bursts(tmp_path_factory) -> Path:
    """Two classes of 12 images in bursts of two, which a CSV file names."""
    root = make_folder(tmp_path_factory.mktemp("bursts") / "d", {"cat": 12, "dog": 12})
    rows = [f"{name}/{i:03}.jpg,{name},{name}{i // 2}" for name in ("cat", "dog") for i in range(12)]
    (root / "labels.csv").write_text("\n".join(["path,label,group", *rows]) + "\n")
    return root / "labels.csv"


@pytest.fixture
def study(bursts, tmp_path, in_process, capsys) -> Path:
    code, out, err = answer(capsys, bursts, "--folds", "3", *QUICK, "--output", tmp_path / "study")
    assert code == 0, err
    return tmp_path / "study"


def images_to_test(run: Run) -> set[str]:
    split = Split.read(run.split)
    return {name for name, part in zip(split.names, split.parts, strict=True) if part == "test"}


def test_folds_cover_each_image_once_and_are_those_of_every_backbone(study, bursts, capsys, monkeypatch):
    runs = {path.name: Run(path) for path in (study / "runs").iterdir() if path.is_dir()}
    assert len(runs) == 2 * 2 * 3
    dealt = []
    for seed in (0, 1):
        folds = [images_to_test(runs[f"{SMALL}-seed{seed}-fold{k}"]) for k in (1, 2, 3)]
        assert folds == [images_to_test(runs[f"{LARGE}-seed{seed}-fold{k}"]) for k in (1, 2, 3)]
        assert sum(map(len, folds)) == len(set.union(*folds)) == 24
        for fold in folds:  # bursts are whole
            burst = {(name[:3], int(name[4:7]) // 2) for name in fold}
            assert len(fold) == 2 * len(burst)
        dealt.append(folds)
    assert dealt[0] != dealt[1]

    first, second = json.loads((study / "comparison.json").read_text())
    assert first["interval_covers"] == ["images", "trainings", "splits"] and first["test_images"] == 24
    for one in (first, second):
        by_seed = []
        for seed in (0, 1):
            its = [Run(Path(path)).read_metrics()["test"]["top1"] for path in one["runs"] if f"seed{seed}" in path]
            by_seed.append(sum(score["value"] for score in its) / 3)  # folds of one size
        assert one["by_seed"] == pytest.approx(by_seed)
    outcomes = [ClassificationOutcome.of([Run(Path(path)) for path in one["runs"]]) for one in (first, second)]
    expected = paired_difference(outcomes[0].hits, outcomes[1].hits, outcomes[0].folds)
    assert first["against_baseline"]["difference"]["low"] == pytest.approx(expected.low)
    assert first["against_baseline"]["mcnemar"] == []
    assert "trained 2 times on each of 3 folds" in (study / "report.html").read_text()

    # A fold that is given twice is no further evidence.
    folders = [run.folder for run in runs.values()]
    shutil.copytree(folders[0], study.with_name("copy"))
    code, _, err = answer(capsys, *folders, study.with_name("copy"), "--rounds", "0", "--output", study.with_name("x"))
    assert code == 2 and "are the same training" in err

    # What is lost is trained again, on the same images although another has come.
    lost = runs[f"{SMALL}-seed1-fold2"]
    before = lost.split.read_text()
    (lost.folder / "metrics.json").unlink()
    rows = bursts.read_text()
    make_folder(bursts.parent / "more", {"cat": 1})
    bursts.write_text(rows + "more/cat/000.jpg,cat,new\n")
    code, out, _ = answer(capsys, bursts, "--folds", "3", *QUICK, "--output", study)
    bursts.write_text(rows)
    assert code == 0 and "11 of them finished already" in out
    assert np.array_equal(lost.split.read_text(), before)


def test_bad_folds_are_one_sentence(image_folder, animals, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"fold": "1/3"}))
    for data, words, says in [
        (image_folder, ["--folds", "13"], "There are 13 folds, but the class 'cat' of"),
        (image_folder, ["--folds", "1"], "--folds is 1; it must lie between 2 and 1000"),
        (animals, ["--folds", "2"], "Folds are for data that is not split"),
        (image_folder, ["--folds", "2", "--task", "detect"], "--folds is for classifiers"),
        (image_folder, ["--recipe", recipe], "The recipe tests on one fold"),
    ]:
        code, _, err = answer(capsys, data, *words, "--backbones", SMALL, "--output", tmp_path / "s")
        assert code == 2 and says in err and err.count("\n") == 1, (words, err)
        assert not (tmp_path / "s").exists()
