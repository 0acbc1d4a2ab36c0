"""`mixtransfer demo`, shortened."""

import json

import sklearn.datasets

from mixtransfer.commandline.cli import main


def test_demo_needs_nothing_and_ends_with_a_run(tmp_path, capsys, monkeypatch):
    digits = sklearn.datasets.load_digits()
    digits.update(images=digits.images[:300], target=digits.target[:300])
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: digits)
    assert main(["demo", "--epochs", "1", "--output", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "mixtransfer classify train path/to/images" in out and str(tmp_path / "run" / "report.html") in out
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert "top1" in json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
