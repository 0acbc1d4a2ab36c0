"""The networks to choose from: the MixNets' frame with each block's kernels, expansion and squeeze-excite left open.

It is the space of the MixConv paper (section 4.1): MixConv of 1 to 5 equal groups in each block, and for the rest what
MnasNet leaves open (Tan et al., CVPR 2019): expansion, squeeze-excite, and the width and depth of each stage. The
frame (stages, strides, activations) is MixNet-S's. The grouped 1×1 convolutions of the MixNets are not in it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixtransfer.backbones import Architecture
from mixtransfer.errors import UserError

KERNELS = (3, 5, 7, 9, 11)
EXPANSIONS = (3, 6)
SQUEEZES = (0, 0.25)
BLOCKS = tuple(
    f"k{'.'.join(map(str, KERNELS[:groups]))}_e{expand}" + (f"_se{squeeze}" if squeeze else "")
    for groups in range(1, len(KERNELS) + 1)
    for expand in EXPANSIONS
    for squeeze in SQUEEZES
)

# MixNet-S: channels, stride, activation and depth of each stage after the first, which is one fixed block.
FRAME = ((24, 2, "re", 2), (40, 2, "sw", 4), (80, 2, "sw", 3), (120, 1, "sw", 3), (200, 2, "sw", 3))
STEM, HEAD = 16, 1536
WIDTHS = (0.75, 1.0, 1.25)
SMALLEST_MAP = 2  # side in pixels of the last maps, which MixNet-S has at 64; of smaller images fewer stages halve them

Decisions = Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """What is open about a stage.

    Attributes:
        channels: Choices of its width.
        depths: Choices of its number of blocks.
        stride: Of its first block.
        activation: timm's short name.
    """

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    stride: int
    activation: str


@dataclass(frozen=True)
class Space:
    """All networks between which a search chooses.

    A network is given by its decisions: the number "stage1.channels", the number "stage1.depth", and for each block of
    the deepest stage "stage1.block0", … one of ``BLOCKS``, of which a shallower stage ignores the last ones.
    """

    stem: int
    stages: tuple[Stage, ...]
    head: int
    image_size: int
    num_classes: int

    @classmethod
    def of_width(cls, width: float, image_size: int, num_classes: int) -> "Space":
        """The MixNets' frame with ``width`` times the channels, for images of ``image_size`` pixels.

        Small images are halved by the later stages only, so that the last maps are at least ``SMALLEST_MAP`` wide.
        """
        halvings = max(0, math.floor(math.log2(image_size / SMALLEST_MAP)) - 1)  # beside the stem's
        strided = [i for i, (_, stride, _, _) in enumerate(FRAME) if stride == 2]
        kept = strided[max(0, len(strided) - halvings) :] if halvings else []
        stages = tuple(
            Stage(
                tuple(sorted({_rounded(channels * width * share) for share in WIDTHS})),
                (depth - 1, depth, depth + 1),
                2 if i in kept else 1,
                activation,
            )
            for i, (channels, _, activation, depth) in enumerate(FRAME)
        )
        return cls(_rounded(STEM * width), stages, _rounded(HEAD * min(1, width)), image_size, num_classes)

    @classmethod
    def for_budget(cls, macs: float, image_size: int, num_classes: int) -> "Space":
        """The space of which half the networks fit a budget of multiply-adds.

        Raises:
            UserError: Even the narrowest frame takes more.
        """
        low, high = 0.1, 0.1
        while cls.of_width(high, image_size, num_classes).typical_macs() <= macs:
            low, high = high, 2 * high
        for _ in range(8):
            middle = (low + high) / 2
            fits = cls.of_width(middle, image_size, num_classes).typical_macs() <= macs
            low, high = (middle, high) if fits else (low, middle)
        space = cls.of_width(low, image_size, num_classes)
        least = space.architecture(space.smallest).macs(num_classes=num_classes)
        if least > macs:
            raise UserError(
                f"--budget-macs {macs:g} is less than any network here takes at {image_size} pixels: "
                f"give at least {least:.2g}, or a smaller --image-size."
            )
        return space

    @property
    def choices(self) -> dict[str, tuple]:
        """The choices of each decision, the smallest first."""
        named: dict[str, tuple] = {}
        for i, stage in enumerate(self.stages, 1):
            named[f"stage{i}.channels"] = stage.channels
            named[f"stage{i}.depth"] = stage.depths
            named |= {f"stage{i}.block{j}": BLOCKS for j in range(stage.depths[-1])}
        return named

    @property
    def smallest(self) -> Decisions:
        return {name: choices[0] for name, choices in self.choices.items()}

    @property
    def largest(self) -> Decisions:
        return {name: choices[-1] for name, choices in self.choices.items()}

    def architecture(self, decisions: Decisions, name: str = "candidate") -> Architecture:
        """The network of these decisions."""
        stages: list[tuple[str, ...]] = [(f"ds_r1_k3_s1_e1_c{self.stem}",)]
        for i, stage in enumerate(self.stages, 1):
            blocks = []
            for j in range(decisions[f"stage{i}.depth"]):
                kernels, expand, *squeeze = decisions[f"stage{i}.block{j}"].split("_")
                stride = stage.stride if j == 0 else 1
                parts = ["ir", "r1", kernels, f"s{stride}", expand, f"c{decisions[f'stage{i}.channels']}"]
                blocks.append("_".join([*parts, *squeeze, f"n{stage.activation}"]))
            stages.append(tuple(blocks))
        return Architecture(name, self.stem, tuple(stages), self.head, self.image_size)

    def sample(self, generator: np.random.Generator) -> Decisions:
        """Every choice of every decision with the same probability."""
        return {name: choices[generator.integers(len(choices))] for name, choices in self.choices.items()}

    def fair_samples(self, generator: np.random.Generator) -> Iterator[Decisions]:
        """Endless samples, in which each choice of a decision comes as often as the others.

        That is FairNAS's strict fairness (Chu et al., ICCV 2021): of n choices each comes once in n samples, in a new
        order each time. Uniform sampling (Single Path One-Shot, Guo et al., ECCV 2020) is fair only on average.
        """
        decks: dict[str, list[Any]] = {name: [] for name in self.choices}
        while True:
            for name, choices in self.choices.items():
                decks[name] = decks[name] or [choices[i] for i in generator.permutation(len(choices))]
            yield {name: deck.pop() for name, deck in decks.items()}

    def macs(self, decisions: Decisions) -> int:
        """Multiply-adds of the network of these decisions."""
        return self.architecture(decisions).macs(num_classes=self.num_classes)

    def typical_macs(self) -> int:
        """Multiply-adds that half of the networks stay within, by a sample that is always the same."""
        generator = np.random.default_rng(0)
        return int(np.median([self.macs(self.sample(generator)) for _ in range(101)]))


def _rounded(channels: float) -> int:
    return max(8, round(channels / 8) * 8)
