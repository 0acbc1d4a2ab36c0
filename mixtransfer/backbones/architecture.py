"""A network as timm's block strings: what a backbone file holds. Reading one can run nothing and imports no torch.

``ir_r2_k3.5.7_s2_e6_c40_se0.5_nsw`` is two inverted residuals with MixConv of 3×3, 5×5 and 7×7, stride 2 in the first,
expansion 6, 40 channels, squeeze-excite and swish; timm's ``decode_arch_def`` says more. Understood here are the blocks
``ds`` and ``ir``, with r, k, a, p, s, e, c, se, n and noskip.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mixtransfer.errors import UserError

_KERNELS = r"(?:1[135]|[13579])(?:\.(?:1[135]|[13579]))*"
_OPERATION = re.compile(
    rf"r(?P<r>[1-9]\d?)|k(?P<k>{_KERNELS})|a(?P<a>{_KERNELS})|p(?P<p>{_KERNELS})|s(?P<s>[12])|e(?P<e>10|[1-9](?:\.\d{{1,3}})?)"
    r"|c(?P<c>[1-9]\d{0,3})|se(?P<se>0\.\d{1,4}|1)|n(?P<n>re|r6|hs|sw|mi)"
)
_NAME = re.compile(r"[\w.+-]{1,60}", re.ASCII)
_LARGEST_FILE = 2**20  # bytes
_MOST_BLOCKS = 200
_MOST_WEIGHTS = 10**9


@dataclass(frozen=True)
class Block:
    """One inverted residual (or depthwise-separable block, ``kind`` "ds", whose ``expand`` is 1).

    Attributes:
        kernels: Sides of the depthwise kernels, one a MixConv group.
        channels: Of the output.
        expand: Channels of the depthwise convolution, as a multiple of the input's.
        se: Channels of the squeeze-excite, as a share of the input's; 0 leaves it out.
        activation: timm's short name: "re" is ReLU, "sw" swish; empty is ReLU.
        repeats: How many such blocks follow one another; only the first has the stride.
        skip: Whether input and output are added where their shapes agree.
        expand_kernels, project_kernels: As ``kernels``, of the grouped 1×1 convolutions before and after.
    """

    kind: str
    kernels: tuple[int, ...]
    stride: int
    channels: int
    expand: float = 1.0
    se: float = 0.0
    activation: str = ""
    repeats: int = 1
    skip: bool = True
    expand_kernels: tuple[int, ...] = (1,)
    project_kernels: tuple[int, ...] = (1,)

    @classmethod
    def parse(cls, text: str) -> "Block":
        """Read a block string.

        Raises:
            ValueError: It is none, or one that is not understood here.
        """
        kind, *operations = text.split("_")
        found = [_OPERATION.fullmatch(operation) for operation in operations if operation != "noskip"]
        values = {str(match.lastgroup): match[str(match.lastgroup)] for match in found if match}
        needed = {"r", "k", "s", "c"} | ({"e"} if kind == "ir" else set())
        if kind not in ("ds", "ir") or None in found or len(values) < len(found) or not needed <= values.keys():
            raise ValueError(f"{text[:80]!r} is no block string")
        if kind == "ds" and values.get("e", "1") != "1":
            raise ValueError(f"{text[:80]!r} expands, which a ds block cannot")
        return cls(
            kind, _sides(values["k"]), int(values["s"]), int(values["c"]), float(values.get("e", 1)),
            float(values.get("se", 0)), values.get("n", ""), int(values["r"]), "noskip" not in operations,
            _sides(values.get("a", "1")), _sides(values.get("p", "1")),
        )  # fmt: skip

    def __str__(self) -> str:
        parts = [self.kind, f"r{self.repeats}", f"k{_dotted(self.kernels)}"]
        parts += [f"a{_dotted(self.expand_kernels)}"] * (self.expand_kernels != (1,))
        parts += [f"p{_dotted(self.project_kernels)}"] * (self.project_kernels != (1,))
        parts += [f"s{self.stride}", f"e{self.expand:g}", f"c{self.channels}"]
        parts += [f"se{self.se:g}"] * bool(self.se) + [f"n{self.activation}"] * bool(self.activation)
        return "_".join(parts + ["noskip"] * (not self.skip))


def _sides(dotted: str) -> tuple[int, ...]:
    return tuple(int(side) for side in dotted.split("."))


def _dotted(sides: tuple[int, ...]) -> str:
    return ".".join(map(str, sides))


@dataclass(frozen=True)
class Architecture:
    """A network of timm's ``EfficientNet`` class, which the MixNets are of.

    Attributes:
        name: What to call it; letters, digits, ".", "+", "-" and "_".
        stem: Channels of the 3×3 convolution with stride 2 that comes first.
        blocks: Block strings of each stage.
        head: Channels of the last 1×1 convolution, before pooling.
        image_size: Side in pixels of the images it is meant for.
    """

    name: str
    stem: int
    blocks: tuple[tuple[str, ...], ...]
    head: int
    image_size: int = 224

    def __iter__(self) -> Iterator[Block]:
        """The blocks one after another, each with its own stride, none repeated."""
        for stage in self.blocks:
            first = True
            for block in map(Block.parse, stage):
                for _ in range(block.repeats):
                    yield replace(block, repeats=1, stride=block.stride if first else 1)
                    first = False

    def macs(self, image_size: int | None = None, num_classes: int = 1000) -> int:
        """Multiply-adds of an image, as ``count_macs`` counts them in the network, without building it."""
        from timm.layers import make_divisible

        side = _half(image_size or self.image_size)
        channels = self.stem
        total = side**2 * 27 * channels
        for block in self:
            middle = channels if block.kind == "ds" else make_divisible(channels * block.expand)
            if block.kind == "ir":
                total += side**2 * _grouped(channels, middle, block.expand_kernels)
            side = _half(side) if block.stride == 2 else side
            total += side**2 * _depthwise(middle, block.kernels)
            total += 2 * middle * round(middle * (block.se / block.expand))
            total += side**2 * _grouped(middle, block.channels, block.project_kernels)
            channels = block.channels
        return total + side**2 * channels * self.head + self.head * num_classes

    def parameters(self, num_classes: int = 1000, statistics: bool = False) -> int:
        """Parameters of the network, as ``count_parameters`` counts them in it, without building it.

        Args:
            statistics: Count the means and variances of batch norms too, which lie in a file of weights.
        """
        from timm.layers import make_divisible

        channels, norm = self.stem, 4 if statistics else 2  # weight and bias of each channel
        total = (27 + norm) * channels
        for block in self:
            middle = channels if block.kind == "ds" else make_divisible(channels * block.expand)
            if block.kind == "ir":
                total += _grouped(channels, middle, block.expand_kernels) + norm * middle
            total += _depthwise(middle, block.kernels) + norm * middle
            reduced = round(middle * (block.se / block.expand))
            total += (2 * middle * reduced + reduced + middle) if block.se else 0
            total += _grouped(middle, block.channels, block.project_kernels) + norm * block.channels
            channels = block.channels
        return total + (channels + norm) * self.head + (self.head + 1) * num_classes

    def to_dict(self) -> dict:
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_dict(cls, values: object, source: str) -> "Architecture":
        """What ``to_dict`` wrote, checked; "about" may hold anything more.

        Raises:
            UserError: It is something else, or a network that is too large to build.
        """
        try:
            return cls._checked(values)
        except (KeyError, TypeError, ValueError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{source} is not a backbone's description: {why}.") from error

    @classmethod
    def _checked(cls, values: object) -> "Architecture":
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
        values = {key: value for key, value in values.items() if key != "about"}
        if values.pop("format") != 1:
            raise ValueError("its format is of a newer version")
        if unknown := sorted(values.keys() - {"name", "stem", "blocks", "head", "image_size"}):
            raise ValueError(f"it has the unknown key {str(unknown[0])[:40]!r}")
        for key, most in (("stem", 512), ("head", 8192), ("image_size", 2048)):
            if type(values[key]) is not int or not 1 <= values[key] <= most:
                raise ValueError(f"{key} is no whole number between 1 and {most}")
        if not isinstance(values["name"], str) or not _NAME.fullmatch(values["name"]):
            raise ValueError("name is not of 1 to 60 letters, digits, '.', '+', '-' and '_'")
        stages = values["blocks"]
        if not (isinstance(stages, list) and stages and all(isinstance(stage, list) and stage for stage in stages)):
            raise ValueError("blocks is no list of stages, each a list of block strings")
        texts = [text for stage in stages for text in stage]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a block is no text")
        if len(texts) > _MOST_BLOCKS or sum(Block.parse(text).repeats for text in texts) > _MOST_BLOCKS:
            raise ValueError(f"it has more than {_MOST_BLOCKS} blocks")
        network = cls(**{**values, "blocks": tuple(map(tuple, stages))})
        # An image of one pixel meets every weight of a convolution once.
        if network.macs(1, 1) > _MOST_WEIGHTS:
            raise ValueError(f"it has more than {_MOST_WEIGHTS:,} weights")
        return network


def read_architecture(path: Path | str) -> Architecture:
    """Read a backbone file.

    Raises:
        UserError: It is missing, damaged or something else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise UserError(f"The backbone file {path} is too large to be one.")
        values = json.loads(data.decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"The backbone file {path} does not exist.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"The backbone file {path} is damaged or no JSON ({type(error).__name__}).") from error
    return Architecture.from_dict(values, f"The backbone file {path}")


def _half(side: int) -> int:
    return (side + 1) // 2


def _depthwise(channels: int, kernels: tuple[int, ...]) -> int:
    from mixtransfer.backbones.mixconv import split_channels

    return sum(n * k**2 for n, k in zip(split_channels(channels, len(kernels)), kernels, strict=True))


def _grouped(inputs: int, outputs: int, kernels: tuple[int, ...]) -> int:
    """Weights of a convolution whose channels are split into a group for each kernel."""
    from mixtransfer.backbones.mixconv import split_channels

    splits = (split_channels(channels, len(kernels)) for channels in (inputs, outputs))
    return sum(i * o * k**2 for i, o, k in zip(*splits, kernels, strict=True))
