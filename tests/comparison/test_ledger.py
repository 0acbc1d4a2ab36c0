"""The ledger: what docs/paper.md shows of it is current, and its numbers are the paper's."""

import json
import re
from pathlib import Path

import pytest

from mixtransfer.commandline.cli import main
from mixtransfer.comparison.ledger import STUDIES, ledger, markdown

PAGE = (Path(__file__).parents[2] / "docs" / "paper.md").read_text(encoding="utf-8")


def test_the_page_has_the_current_ledger():
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    assert markdown() in PAGE, "python tools/write_ledger.py"


def test_every_artefact_has_rows_and_a_command_that_is_there():
    assert {entry.artefact for entry in ledger()} == set(STUDIES)
    for _, command in STUDIES.values():
        for path in re.findall(r"\S+/\S+\.(?:py|yaml)", command):
            assert (Path(__file__).parents[2] / path).is_file()


def test_size_of_mixnet_m_on_cifar10_is_the_papers(capsys):
    """Section 3.5 of the paper: 3.49M parameters."""
    assert main(["compare", "--paper", "--json"]) == 0
    rows = {entry["row"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert rows["mixnet_m on cifar10"]["built"].startswith("3.49M")
