"""What an exported file says of itself, as JSON inside it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mixtransfer.data.preprocessing import Preprocessing
from mixtransfer.errors import UserError
from mixtransfer.run import package_versions

KEY = "mixtransfer"


@dataclass(frozen=True)
class Metadata:
    """All that it takes to use an exported model.

    Attributes:
        task: "classification" or "detection".
        backbone: A name that ``create_backbone`` takes.
        classes: Names in the order of the outputs.
        preprocessing: Size, resampling and normalization of the input.
        inside: Whether the normalization is part of the graph, which then takes uint8 (n, size, size, 3).
        outputs: Names of the outputs in order; see ``mixtransfer.deploy.network``.
        details: What only this task needs.
        versions: Of the packages that wrote it.
    """

    task: str
    backbone: str
    classes: list[str]
    preprocessing: Preprocessing
    inside: bool
    outputs: list[str]
    details: dict = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: package_versions(("onnx", "openvino", "executorch")))
    format: int = 1

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "preprocessing": self.preprocessing.to_dict()}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | None, path: Path) -> "Metadata":
        """Read what ``to_json`` wrote.

        Raises:
            UserError: It is missing or wrong; the message names the file.
        """
        if not text:
            raise UserError(f"{path} does not say what its classes are: write it by `mixtransfer export`.")
        try:
            values = json.loads(text)
            found = cls(**{**values, "preprocessing": Preprocessing.from_dict(values["preprocessing"])})
            known = found.format == 1 and found.task in ("classification", "detection") and bool(found.classes)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(f"{path} is damaged: its description cannot be read ({type(error).__name__}).") from error
        if not known:
            raise UserError(f"{path} was written by another version of mixtransfer: export it again with this one.")
        return found
