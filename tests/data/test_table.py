"""Tables row by row, and what stands in a data set's card."""

import pytest

from mixtransfer.data.table import names_in_card, names_of_numbers, read_table
from mixtransfer.errors import UserError


def table(path, text):
    path.write_text(text)
    return read_table(path)


def test_lines_are_those_of_the_file(tmp_path):
    read = table(tmp_path / "t.csv", 'A, b \n1,"x\ny"\n\n ,\n2\n')
    assert read.columns == ["a", "b"]
    assert list(read.rows) == [(3, {"a": "1", "b": "x\ny"}), (6, {"a": "2"})]
    assert read.where(3) == f"{tmp_path / 't.csv'}, line 3"


@pytest.mark.parametrize(("text", "columns"), [("a;b\n", ["a", "b"]), ("a\tb\n", ["a", "b"]), ("a\n", ["a"]), ("", [])])
def test_separators(tmp_path, text, columns):
    assert table(tmp_path / "t.csv", text).columns == columns


def test_json_lines_have_the_columns_of_all_rows(tmp_path):
    read = table(tmp_path / "t.jsonl", '{"a": 1}\n\n{"b": [2], "a": null}\n')
    assert read.columns == ["a", "b"] and list(read.rows) == [(1, {"a": 1}), (3, {"b": [2], "a": None})]


@pytest.mark.parametrize(("line", "says"), [("{", "line 2 is not JSON"), ("[1]", "line 2 is no JSON object")])
def test_a_wrong_line_comes_when_it_is_reached(tmp_path, line, says):
    rows = table(tmp_path / "t.jsonl", '{"a": 1}\n' + line + "\n").rows
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(UserError, match=says):
        next(rows)
    with pytest.raises(UserError, match=says.replace("2", "1")):
        table(tmp_path / "t.jsonl", line)


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not text in UTF-8"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(UserError, match="not a well-formed CSV"):
        list(table(tmp_path / "u.csv", 'a,b\n"x\n').rows)


CARD = """---
license: mit
dataset_info:
- config_name: one
  features:
  - name: label
    dtype:
      class_label:
        names:
          '0': cat
          '10': dog
          '2': ''
  - name: objects
    sequence:
    - name: bbox
    - name: kind
      dtype:
        class_label:
          names:
            '0': box
---
text
"""


def test_names_are_those_of_the_column_or_of_what_is_in_it(tmp_path):
    (tmp_path / "README.md").write_text(CARD)
    assert names_in_card(tmp_path / "README.md", "label") == {0: "cat", 10: "dog"}
    assert names_in_card(tmp_path / "README.md", "objects") == {0: "box"}
    assert names_in_card(tmp_path / "README.md", "season") == {}
    (tmp_path / "README.md").write_text(CARD.replace("'10'", "ten"))
    assert names_in_card(tmp_path / "README.md", "label") == {}


@pytest.mark.parametrize("text", [None, "", "no head", "---\n[\n---\n", "---\nlabel\n---\n"])
def test_a_card_without_names_has_none(tmp_path, text):
    if text is not None:
        (tmp_path / "README.md").write_text(text)
    assert names_in_card(tmp_path / "README.md", "label") == {}


def test_numbers_without_a_name_are_told():
    assert names_of_numbers({0, 1}, {0: "a", 1: "b", 2: "c"}, "Classes") == ({0: "a", 1: "b"}, [])
    named, notes = names_of_numbers({0, 7, 5}, {0: "a"}, "Classes")
    assert named == {0: "a", 5: "5", 7: "7"} and notes == ["Classes by number, since README.md names none: 2 (5 …)."]
