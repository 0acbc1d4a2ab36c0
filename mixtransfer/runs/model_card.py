"""``model.json``: all that it takes, beside the weights, to use a model."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mixtransfer.backbones.architecture import Architecture
from mixtransfer.backbones.registry import BackboneSpec, architecture_spec, backbone_spec
from mixtransfer.common.files import write_atomic
from mixtransfer.common.machine import package_versions
from mixtransfer.errors import UserError

CLASSIFIERS = ("classification", "multilabel")  # the tasks whose answer is of a whole image


@dataclass(frozen=True)
class ModelCard:
    """The contents of ``model.json``.

    Attributes:
        task: "classification", "multilabel" (several labels an image) or "detection".
        backbone: A name that ``create_backbone`` takes, or that of ``architecture``.
        classes: Class names in the order of the outputs.
        preprocessing: See ``mixtransfer.data.preprocessing.Preprocessing``.
        versions: Of the packages that wrote it.
        details: What only this task needs.
        architecture: Of a backbone that came from a file, what the file held.
    """

    task: str
    backbone: str
    classes: list[str]
    preprocessing: dict
    versions: dict[str, str] = field(default_factory=lambda: package_versions())
    details: dict = field(default_factory=dict)
    format: int = 1
    architecture: dict | None = None

    @classmethod
    def of(
        cls, task: str, backbone: BackboneSpec, classes: list[str], preprocessing: dict, details: dict | None = None
    ) -> "ModelCard":
        """The card of a model that is being made."""
        architecture = backbone.architecture.to_dict() if backbone.architecture else None
        return cls(task, backbone.name, classes, preprocessing, details=details or {}, architecture=architecture)

    @property
    def spec(self) -> BackboneSpec:
        """What ``create_backbone`` builds the network from, whatever has become of the backbone's file.

        Raises:
            UserError: The name or the architecture is none.
        """
        if self.architecture is None:
            return backbone_spec(self.backbone)
        return architecture_spec(Architecture.from_dict(self.architecture, "The architecture in model.json"))

    def write(self, path: Path) -> None:
        write_atomic(path, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path, *tasks: str) -> "ModelCard":
        """Read and check a ``model.json``, of one of the tasks; without a task, of any.

        Raises:
            UserError: It is missing, damaged, of a newer format, or of another task than is asked for.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            card = cls(**values)
            well_formed = (
                card.task in (*CLASSIFIERS, "detection")
                and isinstance(card.backbone, str)
                and isinstance(card.classes, list)
                and card.classes
                and all(isinstance(name, str) for name in card.classes)
                and isinstance(card.preprocessing, dict)
            )
        except FileNotFoundError:
            raise UserError(f"{path.parent} holds no trained model: {path.name} is missing.") from None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{path} is damaged or not a model description ({type(error).__name__}).") from error
        if card.format != 1:
            raise UserError(
                f"{path} has format {card.format!r}, which this version does not know: upgrade mixtransfer."
            )
        if not well_formed:
            raise UserError(f"{path} is not a model description: a field is missing or of the wrong kind.")
        if tasks and card.task not in tasks:
            raise UserError(f"{path.parent} holds a {card.task} model, not one for {tasks[0]}.")
        return card
