"""`search` as a user calls it, and the backbone file that comes of it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from search_words import WORDS

from mixtransfer.backbones import count_macs, create_backbone
from mixtransfer.classification.model import open_classifier
from mixtransfer.commandline.cli import main
from mixtransfer.data.load import load_dataset
from mixtransfer.runs.run import Run
from mixtransfer.search import commands
from mixtransfer.search.commands import run_search
from mixtransfer.search.options import SearchOptions
from mixtransfer.search.results import how_to_train
from mixtransfer.search.start import open_start


def answer(folder):
    return json.loads((folder / "search.json").read_text())


def scored(folder):
    import optuna

    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'trials.sqlite3'}")
    return [trial.params for trial in study.get_trials(states=[optuna.trial.TrialState.COMPLETE])]


def test_it_ends_with_a_front_and_a_winner_within_the_budget(found):
    result = answer(found)
    costs, losses = ([one[key] for one in result["front"]] for key in ("macs", "loss"))
    assert result["networks_scored"] == 5 and costs == sorted(costs) and losses == sorted(losses, reverse=True)
    assert max(costs) <= 2e6 and result["winner"]["loss"] == min(losses)
    assert len(list((found / "front").glob("*.json"))) == len(costs)
    network = create_backbone(str(found / "backbone.json"), str(found / "backbone.safetensors"), 3)
    assert count_macs(network, (3, 32, 32)) == result["winner"]["macs"]
    assert all(text in (found / "report.html").read_text() for text in ("Kernels by depth", "backbone.json"))
    assert {path.stem for path in (found / "figures").iterdir()} == {"front", "kernel_shares", "kernels_by_depth"}


def test_more_trials_go_on_without_repeating_any(found, pets, tmp_path, capsys):
    folder = tmp_path / "more"
    shutil.copytree(found, folder)
    supernet = folder / "supernet.safetensors"
    before = supernet.stat().st_mtime_ns, scored(folder)
    capsys.readouterr()
    assert main(["search", str(pets), *WORDS, "--trials", "7", "--output", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer(folder) and answer(folder)["networks_scored"] == 7
    after = scored(folder)
    assert (supernet.stat().st_mtime_ns, after[:5]) == before
    assert len({json.dumps(one, sort_keys=True) for one in after}) == 7


def test_an_interrupted_supernet_goes_on_at_its_last_epoch(pets, tmp_path):
    class Stop(Exception):
        pass

    said = []

    def stopping(text):
        if "Epoch 2/2" in text:
            raise Stop

    options = SearchOptions(
        str(pets), 2e6, image_size=32, epochs=2, trials=1, population=2, workers=0, output=str(tmp_path / "search")
    )
    with pytest.raises(Stop):
        run_search(options, stopping)
    run_search(options, said.append)
    assert not any("Epoch 1/2" in text for text in said) and any("Epoch 2/2" in text for text in said)


def test_killed_after_the_last_epoch_the_averaged_weights_are_kept(found, pets, tmp_path, monkeypatch):
    """As of a search that nobody has killed."""
    real = commands.write_atomic

    def killed(path, content):
        if path.name == "supernet.safetensors":
            raise SystemExit(9)
        real(path, content)

    folder = tmp_path / "search"
    monkeypatch.setattr(commands, "write_atomic", killed)
    words = ["search", str(pets), *WORDS, "--output", str(folder)]
    with pytest.raises(SystemExit):
        main(words)
    assert (folder / "supernet" / "last.ckpt").exists()
    monkeypatch.undo()
    assert main(words) == 0
    one, other = (load_file(where / "supernet.safetensors") for where in (folder, found))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert not (folder / "supernet" / "last.ckpt").exists()


def test_the_supernets_run_cannot_be_resumed_as_a_training(found, capsys):
    assert main(["classify", "train", "--resume", str(found / "supernet")]) == 2
    assert "was not trained by the command" in capsys.readouterr().err


def test_budgets_that_nothing_fits_are_told_before_training(pets, tmp_path, capsys):
    words = ["--budget-params", "100", "--output", str(tmp_path / "s")]
    assert main(["search", str(pets), *WORDS, *words]) == 2
    err = capsys.readouterr().err
    assert "No network here is within the budgets" in err and not (tmp_path / "s" / "supernet").exists()


def test_the_advice_keeps_the_split(found):
    options = SearchOptions("pets", start="mixnet_m", split_seed=3, val_fraction=0.2)
    words = how_to_train(found, options)
    assert "--split-seed 3" in words and "--val-fraction 0.2" in words and "--test-fraction" not in words
    assert f"--weights {found / 'backbone.safetensors'}" in words


def test_another_search_in_the_same_folder_is_refused(found, pets, capsys):
    assert main(["search", str(pets), *WORDS, "--epochs", "9", "--output", str(found)]) == 2
    assert "holds a search whose --epochs is 1, not 9" in capsys.readouterr().err


def test_an_unusable_storage_gets_one_sentence(pets, tmp_path, capsys):
    words = ["--storage", "nosuch://x", "--output", str(tmp_path / "s")]
    assert main(["search", str(pets), *WORDS, *words]) == 2
    err = capsys.readouterr().err
    assert "choose another --storage" in err and err.count("\n") == 1


def test_a_run_opens_without_the_backbone_file_it_was_trained_with(found, pets, tmp_path, capsys):
    file = tmp_path / "mine.json"
    shutil.copy(found / "backbone.json", file)
    folder = tmp_path / "run"
    words = ["--backbone", str(file), "--weights", str(found / "backbone.safetensors"), "--output", str(folder)]
    words += ["--image-size", "32", "--epochs", "1", "--workers", "0", "--batch-size", "16"]
    assert main(["classify", "train", str(pets), *words]) == 0
    file.unlink()
    trained = open_classifier(folder)
    assert trained.model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    # An interrupted training goes on without the file, too.
    run = Run(folder)
    run.metrics.unlink()
    assert main(["classify", "train", "--resume", str(folder), "--workers", "0"]) == 0
    card = json.loads(run.model.read_text())
    card["architecture"]["blocks"] = [["rm -rf"]]
    run.model.write_text(json.dumps(card))
    capsys.readouterr()
    assert main(["classify", "predict", str(folder), str(next(pets.rglob("*.jpg")))]) == 2
    err = capsys.readouterr().err
    assert "model.json is not a backbone's description" in err and err.count("\n") == 1


def test_a_run_can_be_what_is_cut(pets, tmp_path, capsys):
    trained, folder = tmp_path / "trained", tmp_path / "search"
    words = ["--image-size", "32", "--epochs", "1", "--workers", "0", "--batch-size", "16"]
    made = ["--backbone", "mixnet_s", "--weights", "none", *words, "--output", str(trained)]
    assert main(["classify", "train", str(pets), *made]) == 0
    words += ["--trials", "2", "--population", "2", "--lr", "1e-9"]
    assert (
        main(["search", str(pets), "--start", str(trained), "--budget-macs", "4e6", *words, "--output", str(folder)])
        == 0
    )
    said = capsys.readouterr().out
    assert f"--backbone {folder / 'backbone.json'} --weights {folder / 'backbone.safetensors'}" in said
    # What was cut is not needed any more.
    shutil.move(trained, tmp_path / "elsewhere")
    more = [*words, "--trials", "3"]
    assert (
        main(["search", str(pets), "--start", str(trained), "--budget-macs", "4e6", *more, "--output", str(folder)])
        == 0
    )
    trained = tmp_path / "elsewhere"
    # At such a rate nothing is learnt: the supernet's largest network still answers as the run does.
    run, largest = open_classifier(trained), open_classifier(folder / "supernet")
    images = torch.randn(8, 3, 32, 32)
    own, cut = (one.model.train()(images) for one in (run, largest))
    torch.testing.assert_close(cut, own, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("resnet50", "resnet50 is not built of a MixNet's blocks"),
        ("mixnet_z", "--start mixnet_z is neither a run nor a backbone"),
        ("model.onnx", "is an exported file: give the run"),
    ],
)
def test_a_start_that_cannot_be_cut(pets, tmp_path, capsys, start, says):
    assert main(["search", str(pets), *WORDS, "--start", start, "--output", str(tmp_path / "s")]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1 and not (tmp_path / "s").exists()


def test_the_supernet_is_a_run_like_others(found, pets, capsys):
    assert main(["classify", "evaluate", str(found / "supernet"), str(pets), "--workers", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"]["value"] >= 0
    assert Run(found / "supernet").read_history()[-1]["epoch"] == 1


def test_a_ranking_that_is_chance_has_no_winner(found, monkeypatch, pets, tmp_path, capsys):
    folder = tmp_path / "chance"
    shutil.copytree(found, folder)
    monkeypatch.setattr("mixtransfer.search.results.reliability", lambda halves: 0.3)
    assert main(["search", str(pets), *WORDS, "--output", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "These networks cannot be told apart" in out and "Winner:" not in out and str(folder / "front") in out
    assert answer(folder)["winner"] is None and not (folder / "backbone.json").exists()


def test_latency_of_the_front_is_measured_too(found, pets, tmp_path, monkeypatch, capsys):
    for name, value in {"FITTED": 3, "HELD_OUT": 2, "ROUNDS": 1}.items():
        monkeypatch.setattr(f"mixtransfer.search.latency.{name}", value)
    folder = tmp_path / "fast"
    assert main(["search", str(pets), *WORDS, "--budget-ms", "1000", "--output", str(folder), "--trials", "2"]) == 0
    out = capsys.readouterr().out
    assert "Latency is estimated within" in out and "ms estimated" in out
    assert all(one["ms"] > 0 and one["ms_measured"] > 0 for one in answer(folder)["front"])
    assert "latency of one image" in (folder / "report.html").read_text()


def test_what_is_refused_leaves_the_folder_free(pets, tmp_path, capsys):
    words = ["search", str(pets), *WORDS, "--output", str(tmp_path / "s")]
    assert main([*words, "--budget-mb", "0.001"]) == 2
    assert "No network here is within the budgets" in capsys.readouterr().err and not (tmp_path / "s").exists()
    assert main([*words, "--runtime", "onnxruntime"]) == 2
    assert "--runtime onnxruntime is whose latency --budget-ms limits" in capsys.readouterr().err


def test_odd_letters_in_the_folders_name(pets, tmp_path, capsys):
    assert main(["search", str(pets), *WORDS, "--output", str(tmp_path / "a?b")]) == 2
    assert "because of the ? in its name: choose another --output" in capsys.readouterr().err


def test_a_start_that_has_seen_the_images_is_told(pets, tmp_path, capsys):
    trained = tmp_path / "trained"
    words = ["--backbone", "mixnet_s", "--weights", "none", "--image-size", "32", "--epochs", "1", "--workers", "0"]
    assert main(["classify", "train", str(pets), *words, "--batch-size", "16", "--output", str(trained)]) == 0
    dataset = load_dataset(str(pets), split_seed=1)
    said = []
    open_start(str(trained), dataset, said.append)
    assert any("so the score is too high; train the start on the same split" in text for text in said)
    said.clear()
    open_start(str(trained), load_dataset(str(pets)), said.append)
    assert not said


def test_a_winner_is_within_the_latency_that_is_measured(found, pets, tmp_path, monkeypatch, capsys):
    for name, value in {"FITTED": 3, "HELD_OUT": 2, "ROUNDS": 1}.items():
        monkeypatch.setattr(f"mixtransfer.search.latency.{name}", value)
    monkeypatch.setattr("mixtransfer.search.results.latencies", lambda networks, *_: [2.0] * len(networks))
    folder = tmp_path / "slow"
    assert main(["search", str(pets), *WORDS, "--budget-ms", "1000", "--output", str(folder), "--trials", "2"]) == 0
    assert "Winner:" not in capsys.readouterr().out
    assert answer(folder)["winner"] is None and not (folder / "backbone.json").exists()
    assert answer(folder)["ranking"]["latency_error"] >= 0
