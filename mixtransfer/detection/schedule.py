"""The learning rate of a recipe, kept as plain data: built by fvcore's and detectron2's own schedulers."""

from typing import Any

from detectron2.solver import WarmupParamScheduler
from fvcore.common import param_scheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from mixtransfer.detection.options import TrainOptions
from mixtransfer.errors import UserError
from mixtransfer.runs.schedule import cosine

SCHEDULERS: dict[str, type[param_scheduler.ParamScheduler]] = {
    kind.__name__: kind
    for kind in (
        WarmupParamScheduler,
        param_scheduler.CompositeParamScheduler,
        param_scheduler.ConstantParamScheduler,
        param_scheduler.CosineParamScheduler,
        param_scheduler.ExponentialParamScheduler,
        param_scheduler.LinearParamScheduler,
        param_scheduler.MultiStepParamScheduler,
        param_scheduler.PolynomialDecayParamScheduler,
        param_scheduler.StepParamScheduler,
    )
}


def describe_schedule(lazy: Any) -> Any:
    """A LazyCall of ``SCHEDULERS`` as plain data: its arguments, and its class under "name".

    Raises:
        UserError: It is of another class.
    """
    if isinstance(lazy, dict) and "_target_" in lazy:
        target = lazy["_target_"]
        name = target.rsplit(".", 1)[-1] if isinstance(target, str) else target.__name__
        if name not in SCHEDULERS:
            raise UserError(f"a schedule by {name}, which is none of {', '.join(SCHEDULERS)}")
        return {"name": name, **{key: describe_schedule(lazy[key]) for key in lazy if key != "_target_"}}
    if isinstance(lazy, list):
        return [describe_schedule(part) for part in lazy]
    return lazy


def build_schedule(description: Any) -> Any:
    """The scheduler of a description.

    Raises:
        KeyError, TypeError, ValueError: There is no such scheduler.
    """
    if isinstance(description, dict):
        arguments = {key: build_schedule(value) for key, value in description.items() if key != "name"}
        return SCHEDULERS[description["name"]](**arguments)
    return [build_schedule(part) for part in description] if isinstance(description, list) else description


def make_schedule(optimizer: Optimizer, options: TrainOptions) -> LRScheduler:
    """The schedule of resolved options: the recipe's, or a cosine.

    Raises:
        UserError: The recipe's cannot be built.
    """
    assert options.iterations
    description = (options.recipe or {}).get("schedule")
    if description is None:
        return cosine(optimizer, options.iterations, options.warmup)
    try:
        share, iterations = build_schedule(description), options.iterations
        return LambdaLR(optimizer, lambda step: share(min(step / iterations, 1 - 1e-9)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"The recipe's schedule cannot be built ({type(error).__name__}: {error}).") from error
