"""Recipes are followed to the last field, or refused; and detectron2's own script trains by them."""

import logging
from argparse import Namespace
from pathlib import Path

import detecting  # noqa: F401  skips without detectron2
import pytest
import setuptools  # noqa: F401  as long as nothing has imported Python's own distutils: the script's report needs it
import torch
import yaml
from coco_sets import make_coco
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyConfig, instantiate
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import AMPTrainer, SimpleTrainer, create_ddp_model, default_setup, default_writers, hooks
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.solver import LRMultiplier
from detectron2.utils import comm

from mixtransfer.commandline.cli import main
from mixtransfer.common.typed import checked
from mixtransfer.detection.beginning import make_optimizer
from mixtransfer.detection.model import read_detector_card
from mixtransfer.detection.options import TrainOptions
from mixtransfer.detection.recipes import USUAL_TRAIN, read_recipe
from mixtransfer.detection.schedule import make_schedule
from mixtransfer.detection.spec import DetectorSpec
from mixtransfer.runs.run import Run

CONFIGS = Path(__file__).parents[2] / "configs" / "detection"
SMALL = """
model.backbone.name = "mobilenetv3_small_050"
model.num_classes = 2
dataloader.train.total_batch_size = 4
dataloader.train.num_workers = 0
dataloader.test.num_workers = 0
dataloader.train.mapper.augment.size = 96
dataloader.test.mapper.size = 96
train.max_iter = 2
train.eval_period = 2
"""


def recipe(folder: Path, *lines: str, base: str = "torchvision_660_epochs") -> str:
    """A recipe of a small detector with further lines, beside the common parts."""
    common = folder / "common"
    if not common.exists():
        common.mkdir(parents=True)
        for file in (CONFIGS / "common").glob("*.py"):
            (common / file.name).write_text(file.read_text())
    head = f"from .common.model import model\nfrom .common.{base} import dataloader, lr_multiplier, optimizer, train\n"
    (folder / "recipe.py").write_text(head + SMALL + "\n".join(lines) + "\n")
    return str(folder / "recipe.py")


def options_of(path: str) -> TrainOptions:
    """As the command line has them: through YAML."""
    return checked(TrainOptions, yaml.safe_load(yaml.safe_dump(read_recipe(path))))


def spec_by(options: TrainOptions) -> DetectorSpec:
    return DetectorSpec.of_options(options)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("model.nms_threshold = 0.4", {"nms": 0.4}),
        ("model.score_threshold = 0.05", {"min_score": 0.05}),
        ("model.candidates_per_class = 50", {"candidates_per_class": 50}),
        ("model.detections_per_image = 300", {"max_detections": 300}),
        ("model.class_agnostic = True", {"class_agnostic": True}),
        ("model.anchor_generator.aspect_ratios = [2]", {"aspect_ratios": (2,)}),
        ("model.anchor_generator.min_ratio = 0.1", {"anchors": (0.1, 0.95)}),
        ("model.classification_loss.negative_ratio = 5", {"negative_ratio": 5}),
        ("model.pixel_mean = [1.0, 2.0, 3.0]", {"pixel_mean": (1.0, 2.0, 3.0)}),
        ("model.backbone.norm_eps = 0.01", {"norm_eps": 0.01}),
        ("model.backbone.tap = 'stage'", {"tap": "stage"}),
        (
            "from mixtransfer.detection.ssdlite.losses import SigmoidFocalLoss\n"
            "from detectron2.config import LazyCall as L\n"
            "model.classification_loss = L(SigmoidFocalLoss)(alpha=0.4, gamma=1.0, prior=0.1)",
            {"loss": "focal", "focal_alpha": 0.4, "focal_gamma": 1.0, "focal_prior": 0.1},
        ),
        (
            "dataloader.train.mapper.augment.resize = dataloader.test.mapper.resize = 'letterbox'",
            {"resize": "letterbox", "image_size": 96},
        ),
        (
            "from mixtransfer.detection.spec import DetectorSpec\nfrom detectron2.config import LazyCall as L\n"
            "model.spec = L(DetectorSpec)(match_iou=0.4)",
            {"match_iou": 0.4},
        ),
    ],
)
def test_what_a_recipe_says_of_the_model_is_what_is_built(tmp_path, line, expected):
    spec = spec_by(options_of(recipe(tmp_path, line)))
    assert {name: getattr(spec, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("model.box_transform = None", "says model.box_transform = NoneType"),
        ("train.ema = True", "says train.ema, which detect train would not follow"),
        ("train.checkpointer.period = 10", "says train.checkpointer"),
        ("train.init_checkpoint = 'x.pth'", "says train.init_checkpoint = 'x.pth'"),
        ("train.amp.dtype = 'bf16'", "says train.amp.dtype"),
        ("evaluation = dict(every=3)", "says evaluation"),
        ("dataloader.train.sampler = 'x'", "says dataloader.train.sampler"),
        ("dataloader.test.mapper.size = 64", "dataloader.test.mapper with other views"),
        ("dataloader.train.mapper.augment.policy = 'wild'", "cannot be read"),
        ("model.backbone.drop = 3", "cannot be read"),
        (
            "import torch; from detectron2.config import LazyCall as L\n"
            "optimizer = L(torch.optim.RMSprop)(params=optimizer.params, lr=0.1)",
            "an optimizer RMSprop",
        ),
        ("optimizer.params.overrides = {'bias': {'lr': 1.0}}", "by which the lr of some parameters"),
        (
            "from detectron2.config import LazyCall as L\nfrom detectron2.solver import LRMultiplier\n"
            "lr_multiplier = L(LRMultiplier)(multiplier=1)",
            "a schedule by LRMultiplier",
        ),
        (
            "from detectron2.config import LazyCall as L\nfrom detectron2.modeling.matcher import Matcher\n"
            "model.matcher = L(Matcher)(thresholds=[0.5], labels=[0, 1])",
            "model.matcher",
        ),
    ],
)
def test_what_would_not_be_followed_is_refused_in_a_sentence(tmp_path, line, says, capsys):
    assert main(["detect", "train", "x", "--config", recipe(tmp_path, line)]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1, error


def test_torchvisions_schedule_trains_as_torchvision_does(tmp_path):
    """Crops and flips alone, no average, no clipping, 32 bits, momentum, and all parameters decay."""
    options = options_of(str(CONFIGS / "ssdlite_mobilenetv3_large_100_coco.py"))
    assert (options.augment, options.ema, options.clip_grad, options.precision) == ("crop-flip", False, 0.0, "32")
    assert (options.batch_size, options.iterations, options.lr) == (192, 660 * 610, 0.15)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    groups = make_optimizer(model, options).param_groups
    assert {(group["momentum"], group["weight_decay"], group["lr"]) for group in groups} == {(0.9, 4e-5, 0.15)}


def test_other_augmentation_and_amp_are_followed(tmp_path):
    assert options_of(recipe(tmp_path, base="mmdetection_600_epochs")).augment == "standard"
    options = options_of(recipe(tmp_path, "train.amp.enabled = True", "dataloader.train.num_workers = 3"))
    assert (options.precision, options.workers) == ("16", 3)


def test_arguments_of_the_optimizer_are_followed(tmp_path, capsys):
    options = options_of(recipe(tmp_path, "optimizer.momentum = 0.8", "optimizer.nesterov = True"))
    (group, *_) = make_optimizer(torch.nn.Linear(2, 2), options).param_groups
    assert (group["momentum"], group["nesterov"]) == (0.8, True)
    lines = (
        "import torch; from detectron2.config import LazyCall as L",
        "optimizer = L(torch.optim.AdamW)(params=optimizer.params, lr=1e-3, betas=(0.8, 0.99), weight_decay=0.1)",
        "optimizer.params.weight_decay_norm = 0.0",
        "optimizer.params.bias_lr_factor = 1.0",
    )
    path = recipe(tmp_path, *lines)
    assert main(["detect", "train", "x", "--config", path]) == 2  # biases of convolutions decay, norms do not
    assert "by which the weight_decay of some parameters" in capsys.readouterr().err


MULTI_STEP = (
    "from detectron2.config import LazyCall as L",
    "from fvcore.common.param_scheduler import MultiStepParamScheduler",
    "lr_multiplier.scheduler = L(MultiStepParamScheduler)(values=[1, 0.1, 0.01], milestones=[12, 18], num_updates=20)",
    "lr_multiplier.warmup_length = 0.2",
)


@pytest.mark.parametrize("lines", [(), MULTI_STEP], ids=["cosine", "multi-step"])
def test_rates_are_those_that_detectron2_would_have(tmp_path, lines):
    path = recipe(tmp_path, *lines, "train.max_iter = 20")
    options = options_of(path)
    config = LazyConfig.load(path)

    def rates(schedule_of):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], options.lr)
        schedule = schedule_of(optimizer)
        found = []
        for _ in range(20):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    theirs = rates(lambda optimizer: LRMultiplier(optimizer, instantiate(config.lr_multiplier), 20))
    assert rates(lambda optimizer: make_schedule(optimizer, options)) == pytest.approx(theirs, rel=1e-6)


def test_a_recipe_trains_and_its_run_has_what_it_said(tmp_path, capsys):
    data = make_coco(tmp_path / "d", train=8, val=2, test=2)
    path = recipe(tmp_path, "model.nms_threshold = 0.4", *MULTI_STEP)
    words = ["detect", "train", str(data), "--config", path, "--output", str(tmp_path / "run"), "--lr", "0.01"]
    assert main(words) == 0
    run = Run(tmp_path / "run")
    assert read_detector_card(run.model)[1].nms == 0.4
    config = run.read_config()
    assert (config["lr"], config["augment"], config["clip_grad"], config["ema"]) == (0.01, "crop-flip", 0.0, False)
    assert main(["detect", "train", "--resume", str(run.folder)]) == 0  # it can be read again
    assert "is finished already" in capsys.readouterr().out


def test_classes_and_warmup_that_contradict_the_recipe(tmp_path, capsys):
    data = str(make_coco(tmp_path / "d", train=8, val=2, test=2))
    path = recipe(tmp_path, "model.num_classes = 80")
    assert main(["detect", "train", data, "--config", path, "--output", str(tmp_path / "run")]) == 2
    assert "has 80 classes, the data 2: set model.num_classes" in capsys.readouterr().err
    assert main(["detect", "train", data, "--config", recipe(tmp_path), "--warmup", "1"]) == 2
    assert "--warmup is of the usual schedule" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_keys_of_a_recipe_that_nothing_reads(capsys):
    assert main(["detect", "train", "x", "--recipe", '{"momentum": 0.8}']) == 2
    assert "The recipe has 'momentum', which nothing reads" in capsys.readouterr().err


def test_recipes_of_older_versions_are_read(tmp_path):
    """They left the augmentation and the average to the options, and had the schedule in ``train``."""
    lines = (
        "del dataloader",
        "train = dict(image_size=96, batch_size=4, max_iter=20, eval_period=5, lr_multiplier=lr_multiplier)",
        "del lr_multiplier",
    )
    text = Path(recipe(tmp_path)).read_text()
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("dataloader."))
    (tmp_path / "recipe.py").write_text("\n".join([kept, *lines]))
    options = options_of(str(tmp_path / "recipe.py"))
    assert (options.image_size, options.batch_size, options.iterations, options.eval_every) == (96, 4, 20, 5)
    assert (options.augment, options.ema) == ("standard", True)
    assert options.recipe["schedule"]["name"] == "WarmupParamScheduler"


def test_the_common_part_says_what_the_command_takes_for_usual():
    train = LazyConfig.load(str(CONFIGS / "common" / "train.py")).train
    assert {name: train[name] for name in USUAL_TRAIN} == USUAL_TRAIN


@pytest.fixture
def registered(tmp_path):
    """COCO's names for a small data set."""
    data = make_coco(tmp_path / "coco", train=8, val=4, test=2)
    names = {"small_train": "train", "small_val": "val"}
    for name, part in names.items():
        register_coco_instances(name, {}, str(next((data / "annotations").glob(f"*{part}*"))), str(data / part))
    yield
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def script(args: Namespace) -> dict | None:
    """What detectron2's tools/lazyconfig_train_net.py does, step by step; an installation has no tools."""
    config = LazyConfig.apply_overrides(LazyConfig.load(args.config_file), args.opts)
    default_setup(config, args)

    def test(model):
        results = inference_on_dataset(
            model, instantiate(config.dataloader.test), instantiate(config.dataloader.evaluator)
        )
        print_csv_format(results)
        return results

    model = instantiate(config.model).to(config.train.device)
    if args.eval_only:
        DetectionCheckpointer(model).load(config.train.init_checkpoint)
        return test(model)
    config.optimizer.params.model = model
    optimizer = instantiate(config.optimizer)
    loader = instantiate(config.dataloader.train)
    model = create_ddp_model(model, **config.train.ddp)
    trainer = (AMPTrainer if config.train.amp.enabled else SimpleTrainer)(model, loader, optimizer)
    checkpointer = DetectionCheckpointer(model, config.train.output_dir, trainer=trainer)
    writers = default_writers(config.train.output_dir, config.train.max_iter)
    trainer.register_hooks([
        hooks.IterationTimer(),
        hooks.LRScheduler(scheduler=instantiate(config.lr_multiplier)),
        hooks.PeriodicCheckpointer(checkpointer, **config.train.checkpointer) if comm.is_main_process() else None,
        hooks.EvalHook(config.train.eval_period, lambda: test(model)),
        hooks.PeriodicWriter(writers, period=config.train.log_period) if comm.is_main_process() else None,
    ])  # fmt: skip
    checkpointer.resume_or_load(config.train.init_checkpoint, resume=args.resume)
    trainer.train(trainer.iter + 1 if args.resume and checkpointer.has_checkpoint() else 0, config.train.max_iter)
    return trainer.storage.latest()


def test_detectron2s_own_script_trains_evaluates_and_resumes(registered, tmp_path):
    path = recipe(
        tmp_path,
        f"train.output_dir = {str(tmp_path / 'output')!r}",
        f"train.device = {'cuda' if torch.cuda.is_available() else 'cpu'!r}",
        "dataloader.train.dataset.names = 'small_train'",
        "dataloader.test.dataset.names = dataloader.evaluator.dataset_name = 'small_val'",
        "dataloader.test.mapper.resize = dataloader.train.mapper.augment.resize = 'letterbox'",
        "model.score_threshold = 0.0",
    )
    pytest.importorskip("hydra", reason="detectron2 reads overrides by hydra-core: mixtransfer install-detectron2")
    args = Namespace(config_file=path, opts=["model.nms_threshold=0.5"], eval_only=False, resume=False, num_gpus=1)
    set_up = map(logging.getLogger, ("detectron2", "fvcore", "mixtransfer"))  # by the script
    before = {logger: (list(logger.handlers), logger.level, logger.propagate) for logger in set_up}
    try:
        latest = script(args)
        assert latest["total_loss"][0] > 0 and 0 <= latest["bbox/AP50"][0] <= 100
        saved = torch.load(tmp_path / "output" / "model_final.pth", weights_only=False)
        assert saved["iteration"] == 1
        more = ["train.max_iter=3", "train.eval_period=3"]
        script(Namespace(**{**vars(args), "opts": more, "resume": True}))
        assert torch.load(tmp_path / "output" / "model_final.pth", weights_only=False)["iteration"] == 2
    finally:
        for logger, (handlers, level, propagates) in before.items():
            for handler in set(logger.handlers) - set(handlers):
                handler.close()
            logger.handlers, logger.propagate = handlers, propagates
            logger.setLevel(level)  # which forgets what it has answered by the former
