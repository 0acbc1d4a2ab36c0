"""Detection from Python: ``mixtransfer.detect.train``, as `mixtransfer detect train`; see ``mixtransfer.load`` too."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mixtransfer.api import loggers_of, options_of, several_of
from mixtransfer.common.host import undisturbed
from mixtransfer.detection.options import TrainOptions
from mixtransfer.errors import UserError

if TYPE_CHECKING:
    from detectron2.engine import HookBase
    from lightning.pytorch.loggers import Logger

    from mixtransfer.runs.run import Run

__all__ = ["TrainOptions", "train"]


def train(
    data: str | Path | None = None,
    *,
    hooks: "HookBase | Sequence[HookBase] | None" = None,
    logger: "str | bool | Logger | Sequence[str | Logger] | None" = None,
    augment: Any = None,
    **options: Any,
) -> "Run":
    """Train an SSDLite detector on images with boxes, as `mixtransfer detect train` does.

    Sentences on how it goes are logged by the logger "mixtransfer" of ``logging``. The state of all random generators
    is afterwards what it was.

    Args:
        data: A folder of images with boxes, or a file that describes one; leave it out to go on with ``resume=RUN``.
        hooks: Of detectron2 (``detectron2.engine.HookBase``), beside our own.
        logger: As of ``mixtransfer.train``.
        augment: A policy, a file, or a transform; see ``mixtransfer.data.detection.augment.as_detection_augment``.
        options: The further options of the command by name, such as ``backbone="mixnet_s", iterations=800``:
            those of ``mixtransfer.detect.TrainOptions``. ``config`` is a YAML file of them, a recipe in Python (which
            is run), or a name of `mixtransfer recipes`.

    Returns:
        The finished run (on all machines but the first there is none: None).

    Raises:
        UserError: An option or the data cannot be used, or detectron2 is missing.
        Interrupted: Ctrl-C; what is needed to resume has been written.
    """
    with undisturbed():  # by imports too, some of which draw
        from mixtransfer.detection.compat import prepare_detectron2
        from mixtransfer.detection.recipes import read_recipe
        from mixtransfer.detection.train import train as train_run

        policy = {"augment": str(augment)} if isinstance(augment, str | Path) else {}
        named, loggers = loggers_of(logger)
        settled = options_of(TrainOptions, {"data": data, "logger": named, **policy, **options}, read_recipe)
        if settled.preview:
            raise UserError("preview is for the command: mixtransfer detect train DATA --preview.")
        prepare_detectron2()
        from detectron2.engine import HookBase

        given = several_of(HookBase, hooks, "hooks takes hooks of detectron2 (HookBase)")
        made = train_run(settled, augment=None if policy else augment, hooks=given, loggers=loggers)
        return cast("Run", made)
