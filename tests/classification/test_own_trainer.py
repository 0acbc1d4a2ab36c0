"""ImageClassifier and ImageDataModule under a Trainer of someone else, and the way from there to a Run."""

import pickle
from copy import deepcopy

import lightning as L
import numpy as np
import pytest
import timm
import torch
from folders import make_folder
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, WeightedRandomSampler

import mixtransfer as mt
from mixtransfer.classification import saving
from mixtransfer.commandline.cli import main
from mixtransfer.common.files import claimed

NETWORK = "mobilenetv3_small_050"
QUIET = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("own") / "d", {"a": 12, "b": 12}, size=32)


def network(classes: int = 2) -> nn.Module:
    return mt.create_backbone(NETWORK, "none", num_classes=classes)


def classifier(recipe: mt.Recipe | None = None, **more) -> mt.ImageClassifier:
    return mt.ImageClassifier(network(), mt.Preprocessing(size=32), recipe, **more)


def loaders(data, **more) -> mt.ImageDataModule:
    return mt.ImageDataModule(data, **{"batch_size": 4, "workers": 0, **more})


def fitted(data, recipe: mt.Recipe | None = None, module=None, **settings) -> tuple[mt.ImageClassifier, L.Trainer]:
    recipe = recipe or mt.Recipe()
    module = module or classifier(recipe)
    trainer = L.Trainer(**{**QUIET, "max_epochs": 1, "callbacks": recipe.callbacks(), **settings})
    trainer.fit(module, loaders(data))
    return module, trainer


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_batch_norm_does_what_the_recipe_says_under_a_plain_trainer(data, batch_norm):
    module = classifier(mt.Recipe(batch_norm=batch_norm))
    before = {name: value.clone() for name, value in module.state_dict().items() if "running" in name}
    fitted(data, module.recipe, module)
    kept = [torch.equal(module.state_dict()[name], value) for name, value in before.items()]
    assert kept and all(kept) == (batch_norm == "frozen")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_every_precision_trains_on_the_cpu(data, precision, optimizer):
    module, trainer = fitted(data, mt.Recipe(optimizer=optimizer), precision=precision, max_steps=2, max_epochs=-1)
    assert trainer.global_step == 2
    assert all(torch.isfinite(value).all() for value in module.model.state_dict().values())


@pytest.mark.parametrize("backbone", [NETWORK, "mixnet_s"])
def test_a_copy_and_a_pickled_one_answer_alike_and_stand_alone(backbone):
    module = mt.ImageClassifier(mt.create_backbone(backbone, "none", num_classes=2)).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = module(images)
    for other in (pickle.loads(pickle.dumps(module)), deepcopy(module)):
        assert torch.equal(other(images), expected)
        nn.utils.vector_to_parameters(torch.zeros(sum(p.numel() for p in other.parameters())), other.parameters())
        assert not other(images).any() and torch.equal(module(images), expected)


@pytest.mark.parametrize("share", [2, 1.0])
def test_overfitting_sees_the_same_batches_in_every_epoch(data, share):
    seen = []

    class See(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(batch[0].sum(dim=(1, 2, 3)).tolist())

    fitted(data, overfit_batches=share, max_epochs=2, callbacks=[See()])
    assert len(seen) >= 4 and seen[: len(seen) // 2] == seen[len(seen) // 2 :]


def test_a_sampler_of_ones_own_gets_single_views(data):
    module = loaders(data, preprocessing=mt.Preprocessing(size=32))
    views = module.train_dataloader().dataset
    sampler = WeightedRandomSampler([1.0] * len(views), len(views))
    images, labels = next(iter(DataLoader(views, 4, sampler=sampler)))
    assert images.shape == (4, 3, 32, 32) and images.dtype == torch.uint8 and labels.shape == (4,)


def test_from_ones_own_trainer_to_a_run(data, tmp_path):
    """What was trained is what ``load``, timm and the export answer with, and what ``push`` finds scores of."""
    module, trainer = fitted(data, max_steps=1, max_epochs=-1)
    own = loaders(data)
    trainer.test(module, own, verbose=False)
    run = mt.save_run(module, tmp_path / "r", own)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    view = torch.from_numpy(module.preprocessing.central_view(image)).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = module.eval()(view).softmax(1)[0].numpy()
    model = mt.load(run)
    assert model.classes == ["a", "b"]
    np.testing.assert_allclose(model.predict(image).probabilities, expected, atol=1e-5)
    opened = timm.create_model(f"local-dir:{run.folder}", pretrained=True).eval()
    with torch.no_grad():
        np.testing.assert_allclose(opened(module.normalize(view)).softmax(1)[0].numpy(), expected, atol=1e-5)
    tested = run.read_metrics()["test"]["top1"]["value"]
    assert tested == pytest.approx(float(trainer.callback_metrics["test_top1"]))
    assert run.split.exists() and run.test_predictions.exists()
    pytest.importorskip("onnx")
    exported = mt.load(mt.export(run, "onnx").path)
    np.testing.assert_allclose(exported.predict(image).probabilities, expected, atol=1e-4)


def test_a_checkpoint_says_what_the_network_is(data, tmp_path):
    module, trainer = fitted(data, max_steps=1, max_epochs=-1)
    trainer.save_checkpoint(tmp_path / "c.ckpt")
    kept = torch.load(tmp_path / "c.ckpt", weights_only=True)["classifier"]
    assert kept["backbone"] == NETWORK and kept["classes"] == ["a", "b"]
    assert mt.Preprocessing.from_dict(kept["preprocessing"]) == module.preprocessing
    again = mt.ImageClassifier.load_from_checkpoint(tmp_path / "c.ckpt", model=network(), weights_only=True)
    assert mt.save_run(again, tmp_path / "r").folder == tmp_path / "r"  # it knows its classes


def test_a_checkpoint_brings_what_is_not_given(data, tmp_path):
    trained = mt.Preprocessing(size=48, mean=(0.5,) * 3, std=(0.4,) * 3, crop=1.0)
    recipe = mt.Recipe(lr=1e-4, batch_norm="train")
    module = mt.ImageClassifier(network(), trained, recipe, class_weight=[0.5, 1.5])
    _, trainer = fitted(data, recipe, module, max_steps=1, max_epochs=-1)
    trainer.save_checkpoint(tmp_path / "c.ckpt")

    def again(**given):
        return mt.ImageClassifier.load_from_checkpoint(tmp_path / "c.ckpt", model=network(), weights_only=True, **given)

    same = again()
    assert (same.preprocessing, same.recipe, same.class_weights.tolist()) == (trained, recipe, [0.5, 1.5])
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(same.eval()(images), module.eval()(images))
    assert again(recipe=mt.Recipe(lr=1.0), class_weight=[1.0, 1.0]).recipe.lr == 1.0
    with pytest.raises(mt.UserError, match="trained with Preprocessing.size=48"):
        again(preprocessing=mt.Preprocessing(size=64))


def test_a_recipe_set_later_and_a_network_in_evaluation_mode_train_by_the_recipe(data):
    def moved(module):
        before = module.model.conv_stem, {k: v.clone() for k, v in module.state_dict().items() if "running" in k}
        fitted(data, module.recipe, module, max_steps=1, max_epochs=-1)
        return any(not torch.equal(module.state_dict()[name], value) for name, value in before[1].items())

    module = classifier(mt.Recipe(batch_norm="frozen"))
    assert not moved(module)
    module.recipe = mt.Recipe(batch_norm="train")
    assert moved(module)
    assert moved(mt.ImageClassifier(network().eval(), mt.Preprocessing(size=32), mt.Recipe(batch_norm="train")))
    for wrong in ({}, None):
        with pytest.raises(mt.UserError, match=f"recipe= takes .* not {wrong}"):
            module.recipe = wrong
    assert module.recipe == mt.Recipe(batch_norm="train")


def test_synchronized_batch_norms_that_lost_their_activations_are_refused(data):
    class Synchronizes(L.Callback):
        def setup(self, trainer, pl_module, stage):  # what Lightning's sync_batchnorm does on several GPUs
            nn.SyncBatchNorm.convert_sync_batchnorm(pl_module)

    with pytest.raises(mt.UserError, match="sync_batchnorm"):
        fitted(data, callbacks=[Synchronizes()])


def test_an_error_in_validation_leaves_the_weights_that_were_trained(data):
    class Fails(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            self.trained = pl_module.model.conv_stem.weight.detach().clone()

        def on_validation_batch_end(self, *_):
            raise ValueError

    fails, recipe = Fails(), mt.Recipe(lr=0.01)
    module = classifier(recipe)
    with pytest.raises(ValueError):
        fitted(data, recipe, module, callbacks=[*recipe.callbacks(), fails], num_sanity_val_steps=0)
    assert torch.equal(module.model.conv_stem.weight, fails.trained)


def test_a_run_of_ones_own_trainer_is_compared_and_says_what_it_does_not_know(data, tmp_path):
    larger = mt.create_backbone("mobilenetv3_small_075", "none", num_classes=2)
    modules = [classifier(), mt.ImageClassifier(larger, mt.Preprocessing(size=32))]
    runs = [mt.save_run(module, tmp_path / str(i), loaders(data)) for i, module in enumerate(modules)]
    assert runs[0].read_config()["weights"] == runs[0].read_config()["augment"] == "not recorded"
    compared = mt.compare([str(run.folder) for run in runs], rounds=0, output=tmp_path / "c")
    assert [one["minutes"] for row in compared.rows for one in row.training] == [None, None]


def test_a_run_of_ones_own_trainer_is_not_gone_on_with(data, tmp_path, capsys):
    tested = mt.save_run(classifier(), tmp_path / "tested", loaders(data))
    named = mt.save_run(classifier(), tmp_path / "named", classes=["a", "b"])
    for run in (tested, named):
        before = sorted(path.name for path in run.folder.iterdir())
        for words in ([], [str(data)], ["--preview"]):
            assert main(["classify", "train", "--resume", str(run.folder), *words]) == 2
            says = f"error: {run.folder} was not trained by the command, so there is nothing to go on with.\n"
            assert capsys.readouterr().err == says
        with pytest.raises(mt.UserError, match="nothing to go on with"):
            mt.train(resume=run)
        assert sorted(path.name for path in run.folder.iterdir()) == before


def test_a_network_that_a_run_would_not_bring_back_is_refused(data, tmp_path):
    """Its weights have the names and shapes of the usual one."""
    other = timm.create_model(NETWORK, num_classes=2, global_pool="max")
    with pytest.raises(mt.UserError, match="answers otherwise"):
        mt.save_run(mt.ImageClassifier(other, mt.Preprocessing(size=96)), tmp_path / "r", classes=["a", "b"])
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("value", [3e38, float("nan"), float("inf")])
def test_a_network_that_answers_with_no_numbers_is_refused_with_and_without_data(data, tmp_path, value):
    broken = classifier()
    torch.nn.init.constant_(broken.model.conv_stem.weight, value)
    for given in ({"data": loaders(data)}, {"classes": ["a", "b"]}):
        with pytest.raises(mt.UserError, match="no numbers"):
            mt.save_run(broken, tmp_path / "runs" / "r", **given)
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_in_use_is_refused_before_anything_is_computed(data, tmp_path, monkeypatch):
    run = mt.save_run(classifier(), tmp_path / "r", classes=["a", "b"])
    (tmp_path / "file").touch()
    computed = []
    for name in ("_like", "_predicted"):
        monkeypatch.setattr(saving, name, lambda *_, name=name: computed.append(name))
    for folder, said in ((run.folder, "holds another run: give"), (data, "is not empty"), (tmp_path / "file", "no")):
        with pytest.raises(mt.UserError, match=said):
            mt.save_run(classifier(), folder, loaders(data))
    with claimed(tmp_path / "claimed"), pytest.raises(mt.UserError, match="written by another process"):
        mt.save_run(classifier(), tmp_path / "claimed", loaders(data))
    assert not computed


def test_only_the_first_process_writes_a_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    assert mt.save_run(classifier(), tmp_path / "r", loaders(data)) is None and not (tmp_path / "r").exists()


def test_what_cannot_become_a_run_is_said(data, tmp_path):
    for give, said in (
        (lambda: mt.save_run(classifier(), tmp_path / "r"), "names of the classes"),
        (lambda: mt.save_run(classifier(), tmp_path / "r", classes=["a"]), "2 classes"),
        (lambda: mt.save_run(network(), tmp_path / "r", classes=["a", "b"]), "takes an ImageClassifier"),
        (lambda: mt.save_run(classifier(), tmp_path / "r", classes="ab"), "a text each"),
        (lambda: mt.save_run(classifier(), tmp_path / "r", classes=[0, 1]), "a text each"),
        (lambda: mt.save_run(classifier(), None, classes=["a", "b"]), "the folder to write"),
        (lambda: mt.save_run(classifier(), tmp_path / "r", data), "data= takes"),
        (lambda: mt.load(classifier()), "save_run"),
        (lambda: mt.export(classifier()), "save_run"),
    ):
        with pytest.raises(mt.UserError, match=said):
            give()
    changed = network()
    changed.conv_stem = nn.Conv2d(3, 16, 5, 2, 2, bias=False)
    with pytest.raises(mt.UserError, match="layers have been changed"):
        mt.save_run(mt.ImageClassifier(changed), tmp_path / "r", classes=["a", "b"])
    assert not (tmp_path / "r").exists()


def test_what_cannot_be_used_is_said_in_a_sentence(data):
    floats = DataLoader([(torch.rand(3, 32, 32), 0)] * 4, batch_size=2)
    for give, said in (
        (lambda: mt.ImageClassifier(NETWORK), "takes a network"),
        (lambda: mt.ImageClassifier(nn.Linear(3, 2)), "number of classes"),
        (lambda: mt.ImageClassifier(network(), recipe={}), "recipe= takes"),
        (lambda: mt.ImageClassifier(network(), preprocessing=64), "preprocessing= takes"),
        (lambda: classifier(class_weight=[1, 2, 3]), "for each of 2 classes"),
        (lambda: classifier(class_weight=[float("nan"), -1]), "for each of 2 classes"),
        (lambda: classifier(class_weight="balanced"), "for each of 2 classes"),
        (lambda: L.Trainer(**QUIET, max_epochs=1).fit(classifier(), floats), "uint8"),
        (lambda: fitted(data, module=mt.ImageClassifier(network(5), mt.Preprocessing(size=32))), "num_classes=2"),
        (lambda: mt.ImageDataModule(data).setup("fit"), "needs preprocessing="),
        (lambda: mt.ImageDataModule(data).train_dataloader(), "needs preprocessing="),
        (lambda: mt.ImageDataModule(data, batch_size=0), "batch_size is 0"),
        (lambda: mt.ImageDataModule(data, batch_size="16"), "batch_size is '16'"),
        (lambda: mt.ImageDataModule([(data, 0)]), "not a list"),
        (lambda: mt.create_backbone(NETWORK, "none", num_classes=-1), "num_classes is -1"),
    ):
        with pytest.raises(mt.UserError, match=said):
            give()


@pytest.mark.parametrize(
    "wrong",
    [
        {"mixup": -1}, {"label_smoothing": 2}, {"weight_decay": -1}, {"warmup_epochs": -3}, {"clip_grad": -1},
        {"lr": "1e-3"}, {"lr": float("nan")}, {"layer_decay": 0}, {"cutmix": None},
        {"ema": "no"}, {"seed": "a"}, {"seed": 1.5},
    ],
)  # fmt: skip
def test_a_recipe_of_impossible_values_is_refused_when_it_is_made(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))) as caught:
        mt.Recipe(**wrong)
    assert isinstance(caught.value, mt.UserError)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0}, {"size": "32"}, {"interpolation": "cubic"}, {"crop_mode": "centre"}, {"crop": None},
        {"std": (0, 0, 0)}, {"mean": (float("nan"), 0, 0)}, {"mean": 0.5}, {"mean": (0.5, 0.5)},
    ],
)  # fmt: skip
def test_a_preprocessing_of_impossible_values_is_refused_when_it_is_made(wrong):
    with pytest.raises(mt.UserError, match=next(iter(wrong))):
        mt.Preprocessing(**wrong)


def test_a_data_module_knows_its_classes_and_predicts(data):
    own = loaders(data, augment=None)
    assert own.classes == ["a", "b"] and own.num_classes == 2
    probabilities = torch.cat(L.Trainer(**QUIET).predict(classifier(), own))
    assert probabilities.shape == (len(own.dataset.test), 2)


@pytest.mark.parametrize("classes", [{"a", "b"}, {"a": 0, "b": 1}, ["a", "b\nc"], ["a", "\ud800"], ["a", " "], []])
def test_classes_are_names_in_an_order(classes, tmp_path):
    with pytest.raises(mt.UserError, match="classes= takes a list of the names|are not known"):
        mt.save_run(classifier(), tmp_path / "r", classes=classes)
    assert not (tmp_path / "r").exists()
