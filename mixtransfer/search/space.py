"""The networks to choose from: a MixNet's frame whose blocks, widths and depths are left open.

It is the space of the MixConv paper (section 4.1): MixConv of 1 to 5 equal groups in each block, and for the rest what
MnasNet leaves open (Tan et al., CVPR 2019): expansion, squeeze-excite, and the width and depth of each stage. From
scratch the frame (stages, strides, activations) is MixNet-S's, without its grouped 1×1 convolutions. From a trained
network the frame is that network: what can be chosen is a part of it, and its squeeze-excites and grouped 1×1
convolutions stay where they are.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mixtransfer.backbones import Architecture
from mixtransfer.backbones.architecture import Block
from mixtransfer.errors import UserError

KERNELS = (3, 5, 7, 9, 11)
EXPANSIONS = (3, 6)
SQUEEZES = (0, 0.25)


def _coded(expansions: Sequence[float], squeezes: Sequence[float]) -> tuple[str, ...]:
    """The choices of a block, the smallest first: the part of its block string that is open."""
    return tuple(
        f"k{'.'.join(map(str, KERNELS[:groups]))}_e{expand:g}" + (f"_se{squeeze:g}" if squeeze else "")
        for groups in range(1, len(KERNELS) + 1)
        for expand in expansions
        for squeeze in squeezes
    )


BLOCKS = _coded(EXPANSIONS, SQUEEZES)

# MixNet-S: channels, stride, activation and depth of each stage after the first, which is one fixed block.
FRAME = ((24, 2, "re", 2), (40, 2, "sw", 4), (80, 2, "sw", 3), (120, 1, "sw", 3), (200, 2, "sw", 3))
STEM, HEAD = 16, 1536
WIDTHS = (0.75, 1.0, 1.25)
# Of a trained network: shares of its width and expansion, and how many blocks a stage may lose.
PARTS = (0.5, 0.75, 1.0)
EXPANSION_PARTS = (0.5, 2 / 3, 1.0)
FEWER_BLOCKS = 2
WIDEST = 8.0  # times MixNet-S's channels
SMALLEST_MAP = 2  # side in pixels of the last maps, which MixNet-S has at 64; of smaller images fewer stages halve them

Decisions = Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """What is open about a stage.

    Attributes:
        channels: Choices of its width.
        depths: Choices of its number of blocks.
        frames: Of each block of the deepest stage what is fixed: stride, activation, grouped 1×1 convolutions.
        blocks: Of each such block the choices of the rest, as the codes of a block string.
    """

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    frames: tuple[Block, ...]
    blocks: tuple[tuple[str, ...], ...]

    @classmethod
    def of_blocks(cls, channels: tuple[int, ...], depths: tuple[int, ...], stride: int, activation: str) -> "Stage":
        """A stage of equal blocks with ``BLOCKS`` to choose from, the first with a stride."""
        frames = (Block("ir", (3,), stride if j == 0 else 1, 0, activation=activation) for j in range(depths[-1]))
        return cls(channels, depths, tuple(frames), (BLOCKS,) * depths[-1])

    @classmethod
    def of_trained(cls, blocks: Sequence[Block]) -> "Stage":
        """A stage of which a trained one is the widest and deepest."""
        channels = tuple(sorted({_rounded(blocks[0].channels * part) for part in PARTS[:-1]} | {blocks[0].channels}))
        depths = tuple(range(max(1, len(blocks) - FEWER_BLOCKS), len(blocks) + 1))
        choices = (
            _coded(
                sorted({max(1, round(block.expand * part)) for part in EXPANSION_PARTS[:-1]} | {block.expand}),
                [block.se],
            )
            for block in blocks
        )
        return cls(tuple(c for c in channels if c <= blocks[0].channels), depths, tuple(blocks), tuple(choices))


@dataclass(frozen=True)
class Space:
    """All networks between which a search chooses.

    A network is given by its decisions: the number "stage1.channels", the number "stage1.depth", and for each block of
    the deepest stage "stage1.block0", … one of its stage's ``blocks``, of which a shallower stage ignores the last
    ones. Kernels that reach over both borders of a map from any pixel are left out: more of them is only zeros.

    Attributes:
        first: The block strings of the first stage, which is fixed.
    """

    stem: int
    stages: tuple[Stage, ...]
    head: int
    image_size: int
    num_classes: int
    first: tuple[str, ...] = ()

    @classmethod
    def of_width(cls, width: float, image_size: int, num_classes: int) -> "Space":
        """The MixNets' frame with ``width`` times the channels, for images of ``image_size`` pixels.

        Small images are halved by the later stages only, so that the last maps are at least ``SMALLEST_MAP`` wide.
        """
        halvings = max(0, math.floor(math.log2(image_size / SMALLEST_MAP)) - 1)  # beside the stem's
        strided = [i for i, (_, stride, _, _) in enumerate(FRAME) if stride == 2]
        kept = strided[max(0, len(strided) - halvings) :] if halvings else []
        stages = tuple(
            Stage.of_blocks(
                tuple(sorted({_rounded(channels * width * share) for share in WIDTHS})),
                (depth - 1, depth, depth + 1),
                2 if i in kept else 1,
                activation,
            )
            for i, (channels, _, activation, depth) in enumerate(FRAME)
        )
        return cls(_rounded(STEM * width), stages, _rounded(HEAD * min(1, width)), image_size, num_classes)

    @classmethod
    def of_trained(cls, architecture: Architecture, image_size: int, num_classes: int) -> "Space":
        """The parts of a trained network, which is the largest of them but for its kernels.

        Raises:
            UserError: It has other stages than MixNets have: one fixed stage at first, then stages of one width,
                whose kernels are the first ones of ``KERNELS`` and whose 1×1 convolutions are in at most two groups.
        """
        stages = [[*_apart(stage)] for stage in architecture.blocks]
        fixed = [stage for stage in stages if all(block.kind == "ds" for block in stage)]
        opened = stages[len(fixed) :]
        for block in (block for stage in opened for block in stage):
            groups = {block.expand_kernels, block.project_kernels}
            odd = (1, 1) in groups and block.channels % 2
            if (
                block.kind != "ir"
                or odd
                or not groups <= {(1,), (1, 1)}
                or block.kernels != KERNELS[: len(block.kernels)]
            ):
                raise UserError(f"{architecture.name} has the block {block}, which no search can cut: take a MixNet.")
        alike = all(len({block.channels for block in stage}) == 1 for stage in opened)
        known = all({*block.kernels} <= {*KERNELS} for stage in fixed for block in stage)
        if len(fixed) != 1 or stages[:1] != fixed or not opened or not alike or not known:
            raise UserError(f"{architecture.name} has stages that no search can cut: take a MixNet.")
        first = tuple(str(block) for stage in fixed for block in stage)
        trained = tuple(map(Stage.of_trained, opened))
        return cls(architecture.stem, trained, architecture.head, image_size, num_classes, first)

    @classmethod
    def for_budget(cls, macs: float, image_size: int, num_classes: int) -> "Space":
        """The space of which half the networks fit a budget of multiply-adds.

        Raises:
            UserError: Even the narrowest frame takes more, or the widest less.
        """
        low, high = 0.1, 0.1
        while cls.of_width(high, image_size, num_classes).typical_macs() <= macs:
            low, high = high, 2 * high
            if high > WIDEST:
                raise UserError(
                    f"--budget-macs {macs:g} is more than any network here takes at {image_size} pixels: give less."
                )
        for _ in range(8):
            middle = (low + high) / 2
            fits = cls.of_width(middle, image_size, num_classes).typical_macs() <= macs
            low, high = (middle, high) if fits else (low, middle)
        space = cls.of_width(low, image_size, num_classes)
        space.check_budget(macs)
        return space

    def check_budget(self, macs: float) -> None:
        """Have a budget of multiply-adds that no network fits be a ``UserError``."""
        if (least := self.macs(self.smallest)) > macs:
            raise UserError(
                f"--budget-macs {macs:g} is less than any network here takes at {self.image_size} pixels: "
                f"give at least {least:.2g}, or a smaller --image-size."
            )

    @cached_property
    def choices(self) -> dict[str, tuple]:
        """The choices of each decision, the smallest first."""
        side = (self.image_size + 1) // 2
        for block in map(Block.parse, self.first):
            side = (side + 1) // 2 if block.stride == 2 else side
        named: dict[str, tuple] = {}
        for i, stage in enumerate(self.stages, 1):
            named[f"stage{i}.channels"] = stage.channels
            named[f"stage{i}.depth"] = stage.depths
            for j, (frame, choices) in enumerate(zip(stage.frames, stage.blocks, strict=True)):
                largest = max(*frame.kernels, 2 * side - 1)  # what is trained is kept
                fitting = (code for code in choices if int(code.split("_")[0].split(".")[-1].strip("k")) <= largest)
                named[f"stage{i}.block{j}"] = tuple(fitting)
                side = (side + 1) // 2 if frame.stride == 2 else side
        return named

    @property
    def smallest(self) -> Decisions:
        return {name: choices[0] for name, choices in self.choices.items()}

    @property
    def largest(self) -> Decisions:
        return {name: choices[-1] for name, choices in self.choices.items()}

    def architecture(self, decisions: Decisions, name: str = "candidate") -> Architecture:
        """The network of these decisions."""
        stages: list[tuple[str, ...]] = [self.first or (f"ds_r1_k3_s1_e1_c{self.stem}",)]
        for i, stage in enumerate(self.stages, 1):
            channels = decisions[f"stage{i}.channels"]
            chosen = (
                Block.parse(f"ir_r1_s1_c{channels}_{decisions[f'stage{i}.block{j}']}") for j in range(len(stage.frames))
            )
            blocks = (
                replace(frame, kernels=open_.kernels, expand=open_.expand, se=open_.se, channels=channels)
                for frame, open_ in zip(stage.frames, chosen, strict=True)
            )
            stages.append(tuple(map(str, blocks))[: decisions[f"stage{i}.depth"]])
        return Architecture(name, self.stem, tuple(stages), self.head, self.image_size)

    def sample(self, generator: np.random.Generator) -> Decisions:
        """Every choice of every decision with the same probability."""
        return {name: choices[generator.integers(len(choices))] for name, choices in self.choices.items()}

    def shrunk(
        self, decisions: Decisions, fits: Callable[[Decisions], bool], generator: np.random.Generator
    ) -> Decisions:
        """The same network with random decisions made smaller until it fits; the smallest network has to."""
        decisions = dict(decisions)
        while not fits(decisions):
            larger = [name for name, choices in self.choices.items() if decisions[name] != choices[0]]
            name = larger[generator.integers(len(larger))]
            choices = self.choices[name]
            decisions[name] = choices[choices.index(decisions[name]) - 1]
        return decisions

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


def _apart(stage: Sequence[str]) -> Iterator[Block]:
    """The blocks of a stage, none repeated."""
    for block in map(Block.parse, stage):
        yield replace(block, repeats=1)
        yield from [replace(block, repeats=1, stride=1)] * (block.repeats - 1)


def _rounded(channels: float) -> int:
    return max(8, round(channels / 8) * 8)
