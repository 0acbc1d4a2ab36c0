"""Mistakes at the command line: each is answered by one sentence that names the thing, and leaves nothing behind."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from coco_sets import make_coco
from folders import make_folder

from mixtransfer.classification.options import TrainOptions
from mixtransfer.commandline.cli import main
from mixtransfer.runs.model_card import ModelCard
from mixtransfer.runs.run import Run

SMALL = "--backbones mobilenetv3_small_050"
SCRATCH = "--weights none"

# The words after `mixtransfer`, and what the sentence has to say. The files are those that `place` makes.
MISTAKES = [
    ("clasify", "did you mean 'classify'?"),
    ("classify trian images", "There is no command `classify trian`; classify has train, evaluate, predict"),
    ("models --famly mixnet", "There is no option --famly; did you mean --family?"),
    ("models --family mixnut", "mixnut"),
    ("classify train", "Say what to train on"),
    ("classify train images more", "The argument 'more' is one too many."),
    ("classify train images --batchsize 3", "There is no option --batchsize; did you mean --batch-size?"),
    ("classify train images --lr fast", "--lr takes a number or find, not 'fast'."),
    ("classify train images --augment wild", "--augment 'wild' is not one of none, crop, crop-flip"),
    ("classify train images --epochs -1", "--epochs is -1; it must be at least 0."),
    (f"classify train images {SCRATCH} --epochs 0", "--epochs 0 keeps the head on frozen features, but"),
    ("classify train images --epochs few", "--epochs takes a whole number, not 'few'."),
    (f"classify train images {SCRATCH} --batch-size 0", "--batch-size is 0"),
    (f"classify train images {SCRATCH} --image-size 4", "--image-size is 4; it must lie between 16 and 2048."),
    (f"classify train images {SCRATCH} --min-crop 2", "--min-crop is 2.0"),
    ("classify train images --lr 0", "--lr is 0"),
    ("classify train images --dropout 1.5", "--dropout is 1.5"),
    ("classify train images --workers -1", "--workers is -1; it must be at least 0."),
    ("classify train images --mixup .nan", "--mixup is nan"),
    ("detect train boxes --lr .inf", "--lr is inf; it must be finite"),
    (f"classify train images {SCRATCH} --val-fraction 1.5", "validation fraction is 1.5"),
    (f"classify train images {SCRATCH} --test-fraction 0", "test fraction is 0"),
    ("classify train images --backbone mixnet_z", "There is no backbone 'mixnet_z': did you mean mixnet_"),
    ("classify train images --backbone mixnet_s.mixconv24", "The variant 'mixconv24' is not one"),
    ("classify train images --weights gone.safetensors", "gone.safetensors does not exist"),
    ("classify train images --weights text.pth", "text.pth holds pickled objects"),
    (f"classify train images {SCRATCH} --output images", "images exists and is not empty: choose another --output"),
    (f"classify train images {SCRATCH} --output run", "run holds another run"),
    (f"classify train images {SCRATCH} --output text.txt/run", "text.txt"),
    ("classify train images --config gone.yaml", "gone.yaml"),
    ("classify train images --config broken.yaml", "broken.yaml is not valid YAML"),
    ("classify train images --config bomb.yaml", "references such as *name are not read"),
    ("classify train images --config unknown.yaml", "the key 'epoch', which is no option; did you mean epochs?"),
    ("classify train images --config wrong.yaml", "--epochs takes a whole number, not 'many'."),
    ("classify train --resume images", "images is not a run: it has no config.yaml."),
    ("classify train other --resume run", "was trained on images, not on other"),
    ("classify train cifra10", "did you mean cifar10?"),
    ("classify train gone", "There is no dataset or folder 'gone'"),
    ("classify train text.txt", "text.txt is a file but not a manifest"),
    ("classify train empty", "empty holds no class folders"),
    ("classify train one", "a single class, 'cat'"),
    ("classify train broken", "broken has no usable image; 0.jpg is not an image"),
    (
        "classify train columns.csv",
        "columns.csv needs the columns path and label (or labels, or one of 0 and 1 for each); it has 'file, label'.",
    ),
    ("classify train missing.csv", "missing.csv, line 3: the label is missing."),
    ("classify train outside.csv", "outside.csv, line 2: '../x.jpg' lies outside of"),
    ("classify evaluate", "run is missing"),
    ("classify evaluate gone", "gone is not a run"),
    ("classify evaluate run", "run holds no trained model yet: model.safetensors is missing."),
    ("classify evaluate damaged", "model.json is damaged"),
    ("classify predict run", "images is missing; see --help."),
    ("classify predict images images/cat/000.jpg", "images is not a run"),
    ("classify predict detector images/cat/000.jpg", "detector holds a detection model, not one for classification."),
    ("compare", "Say what to compare"),
    (f"compare gone {SMALL}", "There is no dataset or folder 'gone'"),
    ("compare images --backbones mobilenetv3_smal_050", "did you mean"),
    ("compare images --seeds 0", "--seeds is 0; it must be at least 1."),
    ("compare images --epochs 0", "--epochs is 0; it must be at least 1."),
    ("compare boxes --task detect --image-size 8", "--image-size is 8"),
    ("compare images --jobs 0", "--jobs is 0"),
    ("compare images --limit speed=3", "--limit 'speed=3' is not understood"),
    ("compare images --limit latency=3MB", "is not understood"),
    ("compare images --budget-minutes 1 --epochs 3", "leave --epochs"),
    ("compare images --budget-minutes -1", "--budget-minutes is -1.0"),
    ("compare images --iterations 3", "--iterations is no option of --task classify"),
    ("compare images images", "is one too many"),
    ("compare images --recipe gone.yaml", "--recipe gone.yaml is not a file"),
    (f"compare images --baseline resnet50 {SMALL}", "--baseline resnet50 is not among"),
    (f"compare images --output one {SMALL}", "one exists and is not empty"),
    ("doctor gone", "There is no dataset or folder 'gone'"),
    ("doctor images --output run", "run holds a run: choose another --output."),
    ("doctor images --run images", "images is not a run"),
    ("doctor images --image-size 8", "--image-size is 8; it must lie between 64 and 2048."),
    ("doctor images --task segment", "--task takes auto or classify or detect, not 'segment'."),
    ("export gone", "gone"),
    (
        "export run --format onx",
        "--format takes onnx or openvino or torch or executorch or litert or coreml or web, not 'onx'.",
    ),
    ("export run", "run holds no trained model yet: model.safetensors is missing."),
    ("search", "Say what to search on"),
    ("search images --budget-macs -1", "--budget-macs is -1.0; it must be more than 0."),
    ("search images --trials 0", "--trials is 0; it must be at least 1."),
    ("search images --image-size 8", "--image-size is 8; it must lie between 16 and 2048."),
    ("benchmark mixnet_z", "mixnet_z"),
    ("benchmark gone.onnx", "gone.onnx"),
    ("benchmark mixnet_s --batches 1,x", "--batches takes positive whole numbers"),
    ("benchmark mixnet_s --threads 0", "--threads takes positive whole numbers"),
    ("benchmark mixnet_s --rounds 0", "--rounds is 0"),
    ("app gone --no-browser", "gone"),
]
DETECTION_MISTAKES = [
    ("detect find boxes", "There is no command `detect find`; detect has demo, train, evaluate, predict"),
    ("detect train", "Say what to train on"),
    ("detect train cocoo", "did you mean coco?"),
    ("detect train coco", "instances_train2017.json is missing"),
    ("detect train text.txt", "text.txt is neither a JSON file of COCO or Label Studio nor a YOLO data.yaml"),
    ("detect train images", "images is no detection dataset"),
    ("detect train empty.json", "empty.json is not COCO ground truth: it has no list of images."),
    ("detect train boxes --iterations 0", "--iterations is 0; it must be at least 1."),
    ("detect train boxes --image-size 8", "--image-size is 8; it must lie between 64 and 2048."),
    ("detect train boxes --backbone mixnet_z", "did you mean mixnet_"),
    ("detect train boxes --devices 0", "--devices is 0"),
    ("detect train boxes --min-precision 1.5", "--min-precision is 1.5; it must lie between 0 and 1."),
    ("detect predict detector gone.jpg --threshold 2", "--threshold is 2.0; it must lie between 0 and 1."),
    ("detect train boxes --num-nodes 2", "--num-nodes 2 needs"),
    ("detect train boxes --tap top", "--tap takes auto or expanded or stage, not 'top'."),
    ("detect train boxes --config gone.py", "There is no configuration file or recipe 'gone.py'"),
    ("detect train boxes --config broken.py", "The recipe broken.py cannot be read (ZeroDivisionError"),
    ("detect train --resume run", "run/config.yaml has the key"),
    ("detect evaluate run", "run holds a classification model, not one for detection."),
    ("detect predict detector gone.jpg", "model.safetensors is missing"),
]


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A folder with good and bad data, and runs whose training has just begun."""
    root = tmp_path_factory.mktemp("mistakes") / "here"
    make_folder(root / "images", {"cat": 4, "dog": 4})
    make_folder(root / "one", {"cat": 4})
    make_folder(root / "broken", {"dog": 4})
    (root / "broken" / "cat").mkdir()
    (root / "empty").mkdir()
    make_coco(root / "boxes", train=6)
    references = "\n".join(f"b{i}: &b{i} [{f'*b{i - 1}, ' * 9}*b{i - 1}]" for i in range(1, 9))
    texts = {
        "text.txt": "nothing", "text.pth": "nothing", "broken/cat/0.jpg": "nothing", "empty.json": "{}",
        "broken.yaml": "lr: [", "unknown.yaml": "epoch: 3", "wrong.yaml": "epochs: many",
        "bomb.yaml": f"b0: &b0 [a]\n{references}\ndata: *b8",
        "broken.py": "model = 1 / 0",
        "columns.csv": "file,label\na.jpg,cat\n",
        "missing.csv": "path,label\nimages/cat/000.jpg,cat\nimages/cat/001.jpg,\n",
        "outside.csv": "path,label\n../x.jpg,cat\n",
    }  # fmt: skip
    for name, text in texts.items():
        (root / name).write_text(text)
    preprocessing = {"size": 32, "crop": 0.9, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.2] * 3}
    cards = {
        "run": ModelCard("classification", "mobilenetv3_small_050", ["cat", "dog"], preprocessing),
        "damaged": ModelCard("classification", "mobilenetv3_small_050", ["cat", "dog"], preprocessing),
        "detector": ModelCard("detection", "mobilenetv3_small_050", ["cat"], {"size": 96},
                              details={"tap": "auto", "loss": "focal", "category_ids": [1]}),
    }  # fmt: skip
    for name, card in cards.items():
        run = Run.create(root / name, TrainOptions(data="images"))
        card.write(run.model)
    (root / "damaged" / "model.json").write_text(json.dumps({"task": "classification"})[:-1])
    return root


def answer(words: str, says: str, place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    try:
        code = main(words.split())
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2, out + err
    assert says in err and err.startswith("error: ") and err.count("\n") == 1 and err.rstrip()[-1] in ".?", err
    assert "Traceback" not in err
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_is_one_sentence(words, says, place, monkeypatch, capsys):
    answer(words, says, place, monkeypatch, capsys)


@pytest.mark.skipif(find_spec("detectron2") is None, reason="detectron2 is not installed")
@pytest.mark.parametrize(("words", "says"), DETECTION_MISTAKES, ids=[words for words, _ in DETECTION_MISTAKES])
def test_a_mistake_in_detection_is_one_sentence(words, says, place, monkeypatch, capsys):
    answer(words, says, place, monkeypatch, capsys)
