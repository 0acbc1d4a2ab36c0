"""The page stands alone, and what users named comes out as text."""

import re

import numpy as np
import pytest

from mixtransfer.report import figures
from mixtransfer.report.page import Page

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def page(tmp_path):
    page = Page(f"Title {EVIL}", f"Subtitle {EVIL}")
    page.headline([(f"label {EVIL}", f"value {EVIL}", f"detail {EVIL}")])
    page.section(f"Section {EVIL}", f"Text {EVIL}")
    page.note(f"Note {EVIL}")
    page.warning(f"Warning {EVIL}")
    page.figure(figures.confusion_matrix(np.eye(2, dtype=int), [EVIL, "$x$"]), f"Caption {EVIL}")
    page.table([f"column {EVIL}", "number"], [[f"cell {EVIL}", 3], ["ß ☃", "4.5 %"]], f"Table {EVIL}")
    page.gallery([(np.zeros((300, 200, 3), np.uint8), f"Picture {EVIL}")])
    page.code(f"code {EVIL}", f"Summary {EVIL}")
    page.write(tmp_path / "p.html")
    return (tmp_path / "p.html").read_text(encoding="utf-8")


def test_nothing_a_user_named_becomes_markup(page):
    assert "<script" not in page
    for kind in ("Title", "Subtitle", "label", "value", "detail", "Section", "Text", "Note", "Warning", "Caption",
                 "column", "cell", "Table", "Picture", "code", "Summary"):  # fmt: skip
        assert f"{kind} &lt;script&gt;" in page, kind
    assert "ß ☃" in page


def test_page_needs_no_network(page):
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "@import" not in page and "url(http" not in page


def test_numbers_are_aligned_right(page):
    assert '<td class="number">4.5 %</td>' in page and '<td class="number">3</td>' in page


def test_first_column_names_the_rows_and_is_no_number(tmp_path):
    page = Page("Classes")
    page.table(["class", "AP"], [["7", "+1.5"], ["8", "–"]])
    page.table(["", ""], [["Cores", "2"]])
    page.write(tmp_path / "p.html")
    html = (tmp_path / "p.html").read_text()
    assert "<td>7</td>" in html and '<td class="number">+1.5</td>' in html and '<td class="number">–</td>' in html
    assert html.count("<thead>") == 1


def test_a_figure_may_have_another_form_on_narrow_screens(tmp_path):
    history = [{"epoch": 1, "train_loss": 2.0, "val_loss": 1.0, "val_top1": 0.5}]
    page = Page("Curves")
    page.figure(figures.learning_curves(history), "Both", figures.learning_curves(history, stacked=True))
    page.write(tmp_path / "p.html")
    html = (tmp_path / "p.html").read_text()
    assert html.count("<svg") == 2 and 'class="wide"' in html and 'class="narrow"' in html


def test_writing_leaves_nothing_else_behind(page, tmp_path):
    assert [path.name for path in tmp_path.iterdir()] == ["p.html"]


@pytest.mark.parametrize("classes", [2, 37, 101])
def test_figures_of_any_number_of_classes(tmp_path, classes):
    matrix = np.random.default_rng(0).integers(0, 9, (classes, classes))
    drawn = {
        "confusion": figures.confusion_matrix(matrix, [f"a rather long class name {i}" for i in range(classes)]),
        "calibration": figures.calibration([(0.4, 0.5, 10), (0.9, 0.8, 30)]),
        "curves": figures.learning_curves(
            [{"epoch": 0, "val_top1": 0.5, "val_loss": 1.0, "train_loss": None}, {"epoch": 1, "train_loss": 2.0}]
        ),
    }
    figures.save_figures(drawn, tmp_path / "figures")
    for name in drawn:
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
