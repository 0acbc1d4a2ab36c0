import pytest

from mixtransfer.backbones.variants import Variant, parse_variant


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        ("mixconv35", Variant((3, 5))),
        ("mixconv357911", Variant((3, 5, 7, 9, 11))),
        ("mixconv35791113", Variant((3, 5, 7, 9, 11, 13))),
        ("mixconv1315", Variant((13, 15))),
        ("mixconv3", Variant((3,))),
        ("depthwise7x7", Variant((7,))),
        ("depthwise13x13", Variant((13,))),
        ("mixconv357-exponential", Variant((3, 5, 7), "exponential")),
        ("mixconv357-dilated", Variant((3, 5, 7), "equal", True)),
        ("mixconv357-exponential-dilated", Variant((3, 5, 7), "exponential", True)),
        ("depthwise7x7-dilated", Variant((7,), "equal", True)),
        ("mixconv3579@5", Variant((3, 5, 7, 9), layer=5)),
        ("depthwise9x9@12", Variant((9,), layer=12)),
    ],
)
def test_variants_are_read(suffix, expected):
    assert parse_variant(suffix) == expected


@pytest.mark.parametrize(
    "suffix",
    [
        "", "mixconv", "mixconv53", "mixconv33", "mixconv31", "mixconv24", "mixconv17", "depthwise4x4", "depthwise1x1",
        "depthwise3x5", "depthwise", "depthwise7x7-exponential", "mixconv357-other", "mixconv357@0", "mixconv357@",
        "tv_in1k", "xmixconv35",
    ],
)  # fmt: skip
def test_what_is_no_variant(suffix):
    assert parse_variant(suffix) is None
