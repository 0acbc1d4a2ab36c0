"""Detection from Python: ``mixtransfer.detect.train``, as `mixtransfer detect train`; see ``mixtransfer.load`` too."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mixtransfer.api import options_of, undisturbed
from mixtransfer.errors import UserError

if TYPE_CHECKING:
    from mixtransfer.run import Run


def train(
    data: str | Path | None = None,
    *,
    hooks: Sequence[Any] = (),
    logger: str | None = None,
    augment: Any = None,
    **options: Any,
) -> "Run":
    """Train an SSDLite detector on images with boxes, as `mixtransfer detect train` does.

    Sentences on how it goes are logged by the logger "mixtransfer" of ``logging``. The state of all random generators
    is afterwards what it was.

    Args:
        data: A folder of images with boxes, or a file that describes one; leave it out to go on with ``resume=RUN``.
        hooks: Of detectron2 (``detectron2.engine.HookBase``), beside our own.
        logger: Names as of ``--logger``.
        augment: A policy, a file, or a transform; see ``mixtransfer.data.detection.augment.as_detection_augment``.
        options: The further options of the command by name, such as ``backbone="mixnet_s", iterations=800``; see
            ``mixtransfer.detection.options.TrainOptions``.

    Returns:
        The finished run (on all machines but the first there is none: None).

    Raises:
        UserError: An option or the data cannot be used, or detectron2 is missing.
        Interrupted: Ctrl-C; what is needed to resume has been written.
    """
    from mixtransfer.detection.options import TrainOptions
    from mixtransfer.detection.train import train as train_run

    if options.get("preview"):
        raise UserError("preview is for the command: mixtransfer detect train DATA --preview.")
    policy = {"augment": str(augment)} if isinstance(augment, str | Path) else {}
    settled = options_of(TrainOptions, {"data": data, "logger": logger, **policy, **options})
    with undisturbed():
        return cast("Run", train_run(settled, augment=None if policy else augment, hooks=hooks))
