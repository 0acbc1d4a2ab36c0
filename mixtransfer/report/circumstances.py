"""The end of every report: how the run was made."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from mixtransfer.common.machine import machine, package_versions
from mixtransfer.report.page import Page

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def add_circumstances(
    page: Page,
    options: "DataclassInstance",
    facts: Mapping[str, str],
    skipped: Mapping[Path, str],
    packages: Sequence[str] = (),
) -> None:
    """Machine, facts of the training, resolved configuration, versions, and the files that were left out.

    Args:
        options: The resolved options, a dataclass.
        facts: Such as the training time.
        skipped: Unusable files with the reason.
        packages: Whose versions matter beside the usual.
    """
    page.section("How it was made")
    everything = {**{key.capitalize(): value for key, value in machine().items()}, **facts}
    page.table(["", ""], [[key, value] for key, value in everything.items()])
    page.code(yaml.safe_dump(asdict(options), sort_keys=False, allow_unicode=True), "Resolved configuration")
    page.code("\n".join(f"{name} {number}" for name, number in package_versions(packages).items()), "Versions")
    if skipped:
        page.code("\n".join(f"{path}: {why}" for path, why in skipped.items()), "Files left out")
