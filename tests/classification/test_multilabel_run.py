"""A run for several labels an image, from the command to everything that takes a run."""

import csv
import json
import shutil

import lightning as L
import numpy as np
import pytest
from alone import alone
from exporting import SUFFIXES, needs
from folders import LABELS, make_labelled
from sklearn.metrics import average_precision_score
from tiny import TINY, tiny

import mixtransfer
from mixtransfer.classification import stages
from mixtransfer.classification.answers import read_label_answers
from mixtransfer.classification.folds import choose
from mixtransfer.classification.options import TrainOptions
from mixtransfer.classification.train import train
from mixtransfer.commandline.cli import main
from mixtransfer.comparison.rows import outcome_of
from mixtransfer.data.split_file import Split
from mixtransfer.errors import UserError
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import Run

WORDS = [f"--{key.replace('_', '-')}={value}" for key, value in TINY.items()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_labelled(tmp_path_factory.mktemp("data"), 120, size=32)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Trained far enough to tell the colours."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return train(tiny(data, folder, epochs=25, lr=3e-3, augment="none"))


def test_a_run_says_what_it_is_and_keeps_its_thresholds(run):
    card, metrics = ModelCard.read(run.model), run.read_metrics()
    assert card.task == "multilabel" and card.classes == list(LABELS)
    assert card.details["thresholds"].keys() == set(LABELS)
    assert list(metrics["test"]) == ["mAP", "macro_f1", "micro_f1", "exact_match", "calibration_error"]
    assert metrics["test"]["mAP"]["value"] > 0.8  # chance has 0.4
    assert metrics["validation"]["mAP"]["selected_on"]
    with run.history.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 25 and "val_top1" not in rows[0] and float(rows[-1]["val_mAP"]) > 0.6
    assert Split.read(run.split).multilabel and run.read_config()["loss"] == "bce"
    page = run.report.read_text()
    assert "Surest mistakes" in page and "How well each label is told" in page
    assert {file.name for file in run.figures.iterdir()} == {
        "learning_curves.png", "average_precision.png", "calibration.png"
    }  # fmt: skip


def test_the_test_answers_are_those_of_the_scores_and_of_the_loaded_model(run, data):
    answers, metrics = read_label_answers(run.test_predictions), run.read_metrics()["test"]
    said = answers.predictions
    assert metrics["mAP"]["value"] == pytest.approx(average_precision_score(said.labels, said.probabilities), abs=1e-4)
    model = mixtransfer.load(run)
    assert model.task == "classification" and model.thresholds.shape == (3,)
    found = model.predict([data.parent / name for name in answers.images])
    for one, expected in zip(found, said.probabilities, strict=True):
        np.testing.assert_allclose(one.probabilities, expected, atol=1e-4)
        assert set(one.labels) == {
            name for name, p, t in zip(LABELS, one.probabilities, model.thresholds, strict=True) if p >= t
        }
        assert list(one.to_dict()) == ["labels", "top", "known"] and one.to_dict()["labels"] == one.labels
    with run.test_predictions.open() as file:
        predicted = [row["predicted"].split(";") if row["predicted"] else [] for row in csv.DictReader(file)]
    assert [set(one.labels) for one in found] == list(map(set, predicted))


def test_evaluate_has_the_same_scores_and_a_row_a_label(run, data, tmp_path, capsys):
    assert main(["classify", "evaluate", str(run.folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name, score in run.read_metrics()["test"].items():
        assert found[name]["value"] == pytest.approx(score["value"], abs=1e-4)
    assert [row["class"] for row in found["labels"]] == list(LABELS)
    assert all(row["average_precision"]["low"] <= row["average_precision"]["value"] for row in found["labels"])
    assert main(["classify", "evaluate", str(run.folder)]) == 0
    assert "average precision" in capsys.readouterr().out
    # Other data may have fewer labels, in another order.
    with data.open() as file:
        rows = [row for row in csv.DictReader(file)][:60]
    (data.parent / "fewer.csv").write_text(
        "path,red,blue\n"
        + "".join(f"{row['path']},{int('red' in row['labels'])},{int('blue' in row['labels'])}\n" for row in rows)
    )
    assert (
        main(["classify", "evaluate", str(run.folder), str(data.parent / "fewer.csv"), "--json", "--split", "all"]) == 0
    )
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "Scored are the labels that the data has: not green." in captured.err
    assert [row["class"] for row in found["labels"]] == found["classes"] == ["blue", "red"]
    images = [row["images"] for row in found["labels"]]
    assert images == [sum(name in row["labels"].split(";") for row in rows) for name in ("blue", "red")]


def test_predict_names_the_labels_above_their_thresholds(run, data, capsys):
    images = [str(path) for path in sorted((data.parent / "images").iterdir())[:8]]
    ask = ["classify", "predict", str(run.folder), *images, "--workers", "0"]
    assert main([*ask, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    thresholds = ModelCard.read(run.model).details["thresholds"]
    for one in found:
        over = [entry["class"] for entry in one["top"] if entry["probability"] >= thresholds[entry["class"]]]
        assert one["labels"] == over
    assert main([*ask, "--format", "csv", "--unknown"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    columns = ["path", "rank", "class", "probability", "label", "known", "unknown"]
    assert list(rows[0]) == columns and len(rows) == 24
    assert all((row["unknown"] == "1") == (float(row["known"]) < 0.05) for row in rows)
    said = {(row["path"], row["class"]) for row in rows if row["label"] == "1"}
    assert said == {(one["path"], name) for one in found for name in one["labels"]}
    assert main([*ask, "--top", "1", "--json"]) == 0  # what is said is told in any case
    for line, one in zip(capsys.readouterr().out.splitlines(), found, strict=True):
        assert {entry["class"] for entry in json.loads(line)["top"]} == {one["top"][0]["class"], *one["labels"]}
    assert main(ask) == 0
    for line, one in zip(capsys.readouterr().out.splitlines(), found, strict=True):
        assert ("none of the labels" in line) == (not one["labels"])
        assert all(name in line for name in one["labels"])


@pytest.mark.parametrize("words", [["onnx"], ["onnx", "--preprocess", "--softmax", "--known"], ["openvino"]])
def test_an_export_says_the_same_with_and_without_us(run, data, words, tmp_path, capsys):
    needs(words[0])
    target = tmp_path / f"model{SUFFIXES[words[0]]}"
    assert main(["export", str(run.folder), "--format", *words, "--output", str(target), "--check", "4"]) == 0
    images = sorted((data.parent / "images").iterdir())[:6]
    ours = mixtransfer.load(run).predict(images)
    exported = mixtransfer.load(target)
    np.testing.assert_allclose(exported.thresholds, mixtransfer.load(run).thresholds)
    for one, other in zip(exported.predict(images), ours, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-3)
        assert one.labels == other.labels
    lines = alone(target.with_name("predict.py"), *images).splitlines()
    for line, one in zip(lines, ours, strict=True):
        expected = ", ".join(f"{name} {one.probabilities[LABELS.index(name)]:.1f}" for name in one.labels)
        said = line.split(": ")[1].removesuffix(", but looks like none of the classes")
        shortened = (
            ", ".join(f"{part.split()[0]} {float(part.split()[1]):.1f}" for part in said.split(", "))
            if one.labels
            else said
        )
        assert shortened == (expected or "none of the labels")


def test_a_training_that_is_killed_goes_on_to_the_same_thresholds(data, tmp_path, monkeypatch):
    whole = train(tiny(data, tmp_path / "whole"))
    seen = []

    def stop(trainer, module):
        if trainer.current_epoch == 1 and not seen:
            seen.append(True)
            raise RuntimeError("killed")

    callback = L.pytorch.callbacks.LambdaCallback(on_train_epoch_start=stop)
    with pytest.raises(RuntimeError):
        train(tiny(data, tmp_path / "part"), callbacks=[callback])
    with pytest.raises(UserError, match="has no thresholds for its labels, which the images to validate on choose"):
        mixtransfer.load(tmp_path / "part")
    again = train(TrainOptions(resume=str(tmp_path / "part")))
    assert ModelCard.read(again.model).details == ModelCard.read(whole.model).details
    assert again.test_predictions.read_bytes() == whole.test_predictions.read_bytes()


def test_few_images_are_judged_out_of_fold(tmp_path, data):
    weights = train(tiny(data, tmp_path / "start", epochs=1)).weights
    few = make_labelled(tmp_path / "few", 45, size=32)
    run = train(tiny(few, tmp_path / "run", weights=str(weights), epochs=1))
    assert run.read_metrics()["training"]["validation_images"] > 20  # not the validation part alone
    assert ModelCard.read(run.model).details["thresholds"]
    alone_ = train(tiny(few, tmp_path / "head", weights=str(weights), epochs=0, loss="asymmetric"))
    assert alone_.read_metrics()["training"]["fine_tuned_share"] == 0


def test_fine_tuning_must_be_no_worse_than_the_head(tmp_path, data, monkeypatch):
    weights = train(tiny(data, tmp_path / "start", epochs=1)).weights
    asked = []
    monkeypatch.setattr(
        stages, "choose", lambda judged, tolerance: asked.append(tolerance) or choose(judged, tolerance)
    )
    train(tiny(data, tmp_path / "run", weights=str(weights), epochs=1, patience=1))  # which no folds judge
    assert asked == [0.0]


def test_one_label_is_a_question_of_yes_or_no(tmp_path, data, capsys):
    with data.open() as file:
        rows = [(row["path"], int("red" in row["labels"])) for row in csv.DictReader(file)]
    (data.parent / "red.csv").write_text("path,red\n" + "".join(f"{name},{value}\n" for name, value in rows))
    run = train(tiny(data.parent / "red.csv", tmp_path / "run"))
    assert ModelCard.read(run.model).classes == ["red"] and 0 <= run.read_metrics()["test"]["mAP"]["value"] <= 1
    assert main(["classify", "predict", str(run.folder), str(data.parent / "images"), "--workers", "0"]) == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"class_weights": "balanced"}, "--class-weights is for one class an image"),
        (
            {"loss": "cross_entropy"},
            "--loss cross_entropy does not go with labels, whose images may have several labels",
        ),
    ],
)
def test_options_that_are_for_one_class(data, tmp_path, changes, says):
    with pytest.raises(UserError, match=says):
        train(tiny(data, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_a_loss_for_several_labels_is_refused_on_one_class(image_folder, tmp_path):
    with pytest.raises(UserError, match="--loss bce does not go with images, whose images have one class each"):
        train(tiny(image_folder, tmp_path / "run", loss="bce"))


def test_a_teacher_of_the_other_kind_is_refused(run, image_folder, data, tmp_path):
    with pytest.raises(UserError, match="is for other labels: the teacher may have several an image, the data has one"):
        train(tiny(image_folder, tmp_path / "one", teacher=str(run.folder)))
    taught = train(tiny(data, tmp_path / "taught", teacher=str(run.folder), mixup=0.2, cutmix=1.0))
    assert taught.read_metrics()["test"]


def test_a_run_and_data_of_the_other_kind_are_refused(run, image_folder, tmp_path):
    with pytest.raises(
        UserError, match="An image of the data has one class; .* was trained on images with several labels: call the"
    ):
        mixtransfer.evaluate(run, image_folder) if hasattr(mixtransfer, "evaluate") else _evaluate(run, image_folder)
    with pytest.raises(UserError, match="A search is for one class an image"):
        _search(run, tmp_path)


def _evaluate(run, data):
    from mixtransfer.classification.evaluate import evaluate
    from mixtransfer.classification.options import EvaluateOptions

    evaluate(EvaluateOptions(str(run.folder), str(data)))


def _search(run, folder):
    from mixtransfer.search.commands import search
    from mixtransfer.search.options import SearchOptions

    search(SearchOptions(run.read_config()["data"], output=str(folder / "search")))


def test_two_runs_are_compared_by_their_average_precision(run, data, tmp_path, capsys):
    other = train(tiny(data, tmp_path / "other", epochs=1, backbone="mobilenetv3_small_075"))
    difference = outcome_of([run]).less(outcome_of([other])).estimate
    values = [one.read_metrics()["test"]["mAP"]["value"] for one in (run, other)]
    assert difference.value == pytest.approx(values[0] - values[1], abs=1e-4) and difference.low > 0
    folder = tmp_path / "comparison"
    assert main(["compare", str(run.folder), str(other.folder), "--rounds", "0", "--output", str(folder)]) == 0
    rows = json.loads((folder / "comparison.json").read_text())
    rows = rows["rows"] if isinstance(rows, dict) and "rows" in rows else rows
    assert "mAP" in json.dumps(rows) and "mAP %" in (folder / "report.html").read_text()


def test_a_module_of_ones_own_is_saved_with_thresholds(data, tmp_path):
    module = mixtransfer.ImageClassifier(
        mixtransfer.create_backbone("mobilenetv3_small_050", "none", num_classes=3, image_size=32),
        recipe=mixtransfer.Recipe(loss="focal", lr=1e-3),
    )
    loaders = mixtransfer.ImageDataModule(str(data), augment="none", batch_size=16, workers=0)
    trainer = L.Trainer(
        max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(module, loaders)
    assert {"train_loss", "val_loss", "val_mAP"} <= trainer.callback_metrics.keys()
    with pytest.raises(UserError, match="The thresholds of several labels are chosen on images to validate on"):
        mixtransfer.save_run(module, tmp_path / "run")
    saved = mixtransfer.save_run(module, tmp_path / "run", loaders)
    assert mixtransfer.load(saved).thresholds.shape == (3,) and saved.read_metrics()["test"]["mAP"]
    single = mixtransfer.ImageClassifier(
        mixtransfer.create_backbone("mobilenetv3_small_050", "none", num_classes=3, image_size=32)
    )
    with pytest.raises(UserError, match="may have several labels: take Recipe"):
        trainer.fit(single, loaders)


def test_doctor_finds_labels_that_go_together_and_contradict(data, tmp_path, capsys):
    folder = tmp_path / "data"
    make_labelled(folder, 40, size=32)
    with (folder / "labels.csv").open() as file:
        rows = [(row["path"], row["labels"].split(";") if row["labels"] else []) for row in csv.DictReader(file)]
    rows = [(name, [*own, "warm"] if "red" in own else own) for name, own in rows]
    rows = [(name, [*own, "colour"] if own else own) for name, own in rows]
    bare, first = (next(name for name, own in rows if bool(own) == shows) for shows in (False, True))
    shutil.copy(folder / first, folder / "images" / "copy.png")
    rows.append(("images/copy.png", []))
    (folder / "labels.csv").write_text("path,labels\n" + "".join(f"{name},{';'.join(own)}\n" for name, own in rows))
    assert main(["doctor", str(folder / "labels.csv"), "--json", "--output", str(tmp_path / "doctor")]) in (0, 1)
    found = {one["kind"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert "red and warm" in json.dumps(found["same_labels"]) and found["same_labels"]["severity"] == "warning"
    assert "blue always with colour" in json.dumps(found["never_alone"])
    assert found["two_labels"]["severity"] == "error" and "none" in json.dumps(found) and bare
    assert found["no_label"]["severity"] == "note"


def test_preview_names_all_labels(data, tmp_path, capsys):
    words = ["--output", str(tmp_path / "run"), "--preview", "--augment", "none"]
    assert main(["classify", "train", str(data), *WORDS, *words]) == 0
    page = next(tmp_path.glob("*.html")).read_text()
    assert "blue, green" in page and "100 %" not in page


def test_a_damaged_threshold_is_one_sentence(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "copy")
    card = json.loads((tmp_path / "copy" / "model.json").read_text())
    card["details"]["thresholds"].pop("red")
    (tmp_path / "copy" / "model.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="has no thresholds for its labels"):
        mixtransfer.load(tmp_path / "copy")
    assert Run.open(run.folder)
