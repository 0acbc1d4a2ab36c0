"""Dependencies: what is never installed, and what tools/audit.py makes of pip-audit's answer."""

import importlib.util
import json
from importlib.metadata import requires
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest
from packaging.requirements import Requirement


@pytest.fixture(scope="module")
def judge():
    tool = Path(__file__).resolve().parents[1] / "tools" / "audit.py"
    spec = importlib.util.spec_from_file_location("audit", tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.judge


SOUND = {"name": "torch", "version": "2.15.0", "vulns": []}
BROKEN = {"name": "gradio", "version": "6.5.0", "vulns": [{"id": "CVE-2026-28414", "fix_versions": ["6.7.0"]}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited: ours (0.1)"}


@pytest.mark.parametrize(
    ("packages", "last", "code"),
    [
        ([SOUND], "1 packages audited, 0 of them vulnerable.", 0),
        ([SOUND, BROKEN], "2 packages audited, 1 of them vulnerable.", 1),
        ([SOUND, UNKNOWN], "1 packages audited, 0 of them vulnerable.", 0),
        ([UNKNOWN], "Nothing was audited: the database of vulnerabilities cannot be reached from here.", 0),
    ],
)
def test_its_verdict(judge, packages, last, code):
    sentences, exit_code = judge(json.dumps({"dependencies": packages, "fixes": []}))
    assert (sentences[-1], exit_code) == (last, code)
    if BROKEN in packages:
        assert sentences[0] == "gradio 6.5.0: CVE-2026-28414, fixed in 6.7.0."


def test_no_answer_is_no_all_clear(judge):
    assert judge("")[0] == ["Nothing was audited: the database of vulnerabilities cannot be reached from here."]


@pytest.mark.parametrize(
    ("package", "version"),
    [("torch", "2.9.1"), ("lightning", "2.6.2"), ("lightning", "2.6.3"), ("cleanlab", "2.7.1"), ("gradio", "6.6.9")],
)
def test_releases_that_are_never_installed(package, version):
    """CVE-2026-24747, malware (GHSA-w37p-236h-pfx3), a licence that binds users (AGPL), CVE-2026-28414."""
    requirements = [Requirement(text) for text in requires("mixtransfer") or ()]
    wanted = [one.specifier for one in requirements if one.name == package]
    assert wanted and not any(one.contains(version) for one in wanted)
    assert all(one.contains(installed_version(package)) for one in wanted)
