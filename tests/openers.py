"""Commands that open a run and its data: a data set ``d``, an interrupted run ``begun``, a finished one ``done``."""

from pathlib import Path

import pytest

VERBS = ("resume", "evaluate", "int8", "doctor")


def opening(verb: str, task: str, folder: Path) -> list[str | Path]:
    """The words of a command; the test is skipped where what it needs is not installed.

    Args:
        verb: One of ``VERBS``.
        task: "classify" or "detect".
    """
    needed = {"int8": "onnxruntime", "doctor": "cleanlab"}
    if verb in needed:
        pytest.importorskip(needed[verb], reason=f"{needed[verb]} is not installed: pip install 'mixtransfer[dev]'")
    return {
        "resume": [task, "train", "--resume", folder / "begun"],
        "evaluate": [task, "evaluate", folder / "done"],
        "int8": ["export", folder / "done", "--int8"],
        "doctor": ["doctor", folder / "d", "--run", folder / "done", "--output", folder / "doctor"],
    }[verb]
