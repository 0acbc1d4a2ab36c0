"""The command line as a user meets it; what needs no training."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from folders import make_folder

from mixtransfer import __version__
from mixtransfer.classification.options import EvaluateOptions, PredictOptions, TrainOptions
from mixtransfer.commandline.arguments import parse
from mixtransfer.commandline.cli import GROUPS, VERBS, _load, main
from mixtransfer.errors import UserError

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "classification").glob("*.yaml"))


def parse_train(*argv: str) -> TrainOptions:
    return parse("classify train", TrainOptions, VERBS["classify train"].positionals, argv)


def test_options_positionals_and_both_spellings():
    options = parse_train("my images", "--batch-size", "8", "--min_crop=0.5", "--lr", "find", "--ema", "false")
    assert options.data == "my images" and options.batch_size == 8 and options.min_crop == 0.5
    assert options.lr == "find" and options.ema is False and options.epochs is None


def test_command_line_wins_over_config(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("data: here\nepochs: 3\nlr: 0.1\n")
    options = parse_train("--config", str(config), "--lr", "0.2")
    assert (options.data, options.epochs, options.lr) == ("here", 3, 0.2)
    assert parse_train("there", "--config", str(config)).data == "there"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a", "--epochs"], "--epochs takes a whole number."),
        (["a", "--ema=perhaps"], "--ema takes yes or no, not 'perhaps'."),
        (["a", "--back", "mixnet_s"], "There is no option --back; did you mean --backbone?"),
        (["a", "--ema", "b"], "The argument 'b' is one too many."),
        (["a", "-x"], "There is no option -x; see --help."),
        (["a", "--lr=fast"], "--lr takes a number or find, not 'fast'."),
        (["--config", "epochs: 3\nseed: x\n"], "--seed takes a whole number, not 'x'."),
        (["--config", "epochs"], "There is no configuration file epochs."),
        (["--config", "{epochs: x}"], "--epochs takes a whole number, not 'x'."),
        (["a", "--seed", "1", "b", "c"], "The argument 'b' is one too many."),
    ],
    ids=" ".join,
)
def test_what_is_wrong_is_one_sentence(words, says):
    with pytest.raises(UserError) as caught:
        parse_train(*words)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "words", ["r d --split all", "r --split all d", "--split all r d", "--json r --split=all d", "r --json yes d"]
)
def test_what_is_given_by_position_may_stand_anywhere(words):
    options = parse("classify evaluate", EvaluateOptions, VERBS["classify evaluate"].positionals, words.split())
    assert (options.run, options.data) == ("r", "d") and options.json == ("--json" in words)


@pytest.mark.parametrize(
    "words", ["classify train", "detect train", "classify evaluate RUN", "detect evaluate RUN", "search"]
)
def test_data_by_position_and_by_name_must_be_the_same(words, tmp_path, capsys):
    config = tmp_path / "c.yaml"
    config.write_text("data: there\n")
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    assert main([*words.split(), one, "--config", str(config), "--data", other]) == 2
    assert (
        capsys.readouterr().err == f"error: data is given twice, {one!r} and --data {other!r}: leave one of them out.\n"
    )
    assert main([*words.split(), one, "--config", str(config), f"--data={one}"]) == 2
    assert "given twice" not in capsys.readouterr().err
    verb = VERBS[" ".join(words.split()[:2]).removesuffix(" RUN")]
    again = parse("", _load(verb.options), verb.positionals, [*words.split()[2:], one, "--config", str(config)])
    assert again.data == one  # what is on the command line wins over a file


def test_several_images():
    options = parse(
        "classify predict", PredictOptions, VERBS["classify predict"].positionals, ["r", "a", "b", "--json"]
    )
    assert options.images == ["a", "b"] and options.json


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_parses_and_comments_every_line(config):
    arguments = [] if "data" in yaml.safe_load(config.read_text()) else ["some/folder"]
    parse_train(*arguments, "--config", str(config))
    lines = [line for line in config.read_text().splitlines() if line and not line.startswith("#")]
    assert all("#" in line for line in lines)


def test_folder_recipe_states_the_defaults():
    config = next(path for path in CONFIGS if path.stem == "folder")
    defaults = TrainOptions()
    for key, value in yaml.safe_load(config.read_text()).items():
        assert getattr(defaults, key) == value, key


@pytest.mark.parametrize("name", VERBS)
def test_every_verbs_help_has_every_option_and_fits_a_screen(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        main([*name.split(), "--help"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: mixtransfer {name}")
    assert len(lines) <= 60 and max(map(len, lines)) <= 100
    shown = {word.rstrip(",") for line in lines for word in line.split()[:2]}
    for field in fields(_load(VERBS[name].options)):
        if field.metadata.get("hidden"):  # only files and programs set it
            assert f"--{field.name}" not in shown
            continue
        positional = field.name in VERBS[name].positionals
        assert (field.name.upper().removesuffix("S") if positional else f"--{field.name.replace('_', '-')}") in shown, (
            field.name
        )


def test_help_says_what_an_option_takes_and_its_default(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main(["classify", "train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--optimizer adamw|sgd Optimizer. [adamw]" in text and "--lr X|find " in text
    assert "--ema, --no-ema Evaluate" in text and "--seed N " in text
    assert text.startswith("usage: mixtransfer classify train [DATA] [OPTIONS]")


def test_print_config_prints_what_a_config_takes(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["classify", "train", "--epochs", "3", "--print-config"])
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert parse_train("--config", str(tmp_path / "c.yaml")).epochs == 3


@pytest.mark.parametrize("words", [[], ["--help"], ["help"], ["classify"], ["detect", "--help"]])
def test_overview(words, capsys):
    """Each command that can follow, with what it does."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    group = words[0] if words and words[0] in ("classify", "detect") else None
    for name, verb in VERBS.items():
        if group is None:
            assert any(line[:1] == name.split()[:1] for line in lines)
        elif name.startswith(group):
            assert any(line[:2] == [name.split()[1], verb.help.split()[0]] for line in lines)


def test_every_group_names_its_commands():
    for group, text in GROUPS.items():
        assert text.split(": ")[0].split(", ") == [name.split()[1] for name in VERBS if name.startswith(f"{group} ")]


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"mixtransfer {__version__}\n"


def test_help_imports_nothing_heavy():
    code = (
        "import sys, mixtransfer.commandline.cli as c; c.main(['classify', 'train', '--nonsense'])\n"
        "for words in (['--help'], ['classify', 'train', '--help']):\n"
        "    try: c.main(words)\n"
        "    except SystemExit: pass\n"
        "print([m for m in ('torch', 'timm', 'lightning', 'albumentations') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}
    )
    assert answer.stdout.strip().endswith("[]"), answer.stdout + answer.stderr


@pytest.mark.parametrize(("own", "seen"), [(None, "PASSIVE 1000"), ("ACTIVE", "ACTIVE None")])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(own, seen):
    """libgomp reads the variable when torch is loaded, so it has to be there before, and for child processes too."""
    code = (
        "import os, subprocess, sys\n"
        "import mixtransfer.commandline.listing, mixtransfer.commandline.cli as c\n"
        'tell = \'import os; print(*map(os.environ.get, ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")))\'\n'
        "show = lambda _: print('torch' in sys.modules, flush=True) or subprocess.call([sys.executable, '-c', tell])\n"
        "mixtransfer.commandline.listing.models = show\n"
        "c.main(['models'])"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment |= {"OMP_WAIT_POLICY": own} if own else {}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert answer.stdout.split() == ["False", *seen.split()], answer.stderr


def test_a_command_says_what_this_package_says_and_no_more(tmp_path):
    """Whether Lightning and Pillow are imported before or after the command begins."""
    make_folder(tmp_path / "d", {"cat": 8, "dog": 8}, size=32)
    words = ["--backbone", "mobilenetv3_small_050", "--weights", "none", "--image-size", "32", "--epochs", "1"]
    train = [sys.executable, "-m", "mixtransfer", "classify", "train", "d", *words, "--workers", "0", "--output", "r"]
    evaluate = [sys.executable, "-m", "mixtransfer", "classify", "evaluate", "r", "--workers", "0"]
    for command in (train, evaluate):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr.strip(), done.stderr
        assert not re.search("GPU available|TPU|litlogger|Trainer.fit", done.stdout)


def test_a_reader_that_goes_away_is_no_interrupt(monkeypatch, capsys):
    """As `mixtransfer models | head -1`, in the middle of a table."""

    def write(text):
        if "mixnet_m" in text:
            raise BrokenPipeError
        return len(text)

    monkeypatch.setattr(sys.stdout, "write", write)
    closed = []
    monkeypatch.setattr(sys.stderr, "close", lambda: closed.append(None))
    assert main(["models", "--family", "mixnet"]) == 0
    assert closed and "Interrupted" not in capsys.readouterr().err
