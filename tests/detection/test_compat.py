import subprocess
import sys
from pathlib import Path

import pytest

from mixtransfer.detection.compat import describe_detectron2, prepare_detectron2
from mixtransfer.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_without_detectron2(monkeypatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)  # as if it were not there
    with pytest.raises(UserError, match="needs detectron2, .*`mixtransfer install-detectron2`"):
        prepare_detectron2()


def test_more_calls_do_nothing(monkeypatch):
    """Each image that is trained on calls it."""
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    prepare_detectron2()
    monkeypatch.setattr("mixtransfer.detection.compat.import_module", None)
    prepare_detectron2()


def python(code: str) -> subprocess.CompletedProcess:
    """Run in a fresh Python, which has imported nothing yet."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_a_missing_dependency():
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    code = "import sys; sys.modules['fvcore'] = None; import mixtransfer.detection.ssdlite"
    assert "mixtransfer.errors.UserError: detectron2 needs the package" in python(code).stderr


def test_the_rest_is_usable_without_it():
    code = (
        "import sys; sys.modules['detectron2'] = None; import mixtransfer.commandline.cli, mixtransfer.detection.compat"
    )
    assert python(code).returncode == 0


def test_the_official_source_is_told_apart(tmp_path):
    """A file in the place of the compiled operators, which the official source imports by itself."""
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    (tmp_path / "_C.py").touch()
    code = (
        f"import detectron2; detectron2.__path__.append({str(tmp_path)!r})\n"
        "from PIL import Image; Image.LINEAR = Image.BILINEAR\n"  # of the version here, which is not the official one
        "from mixtransfer.detection.compat import describe_detectron2 as d; print(d() == d(), d())"
    )
    answer = python(code)
    assert answer.stdout.startswith("True 0.6, official source, compiled"), answer.stderr


def test_what_is_installed_works():
    """The parts of detectron2 that training and evaluation use, whichever of its versions this is."""
    pytest.importorskip("detectron2", reason="detectron2 is not installed: mixtransfer install-detectron2")
    name = describe_detectron2()
    assert name.endswith(("Python files only", "official source, compiled"))
    print("detectron2", name)
    prepare_detectron2()  # again

    from detectron2.data import MapDataset, build_detection_test_loader, transforms
    from detectron2.data.build import print_instances_class_histogram
    from detectron2.engine import SimpleTrainer
    from detectron2.evaluation import COCOEvaluator
    from detectron2.evaluation.coco_evaluation import COCOeval_opt
    from pycocotools.cocoeval import COCOeval

    assert issubclass(COCOeval_opt, COCOeval)
    assert all((MapDataset, build_detection_test_loader, SimpleTrainer, COCOEvaluator))
    assert transforms.ResizeTransform(4, 4, 2, 2).apply_box([[0, 0, 4, 4]]).tolist() == [[0, 0, 2, 2]]
    annotations = [{"category_id": 0, "bbox": [0, 0, 1, 1]}]
    print_instances_class_histogram([{"annotations": annotations}], ["cat"])
