"""Look the pinned packages up in the database of known vulnerabilities, by pip-audit; `make audit` calls it.

    python tools/audit.py

Where the database cannot be reached pip-audit leaves every package out and is content. This says so instead.
"""

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).resolve().parents[1] / "constraints.txt"


def judge(answer: str) -> tuple[list[str], int]:
    """What pip-audit's JSON comes to: sentences, and an exit code that is 1 if something has to be done."""
    try:
        packages = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        packages = []
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        return ["Nothing was audited: the database of vulnerabilities cannot be reached from here."], 0
    said = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none'}."
        for package in audited
        for found in package["vulns"]
    ]
    left_out = [package["name"] for package in packages if "skip_reason" in package]
    if left_out:
        said.append(f"Not in the database: {', '.join(left_out)}.")
    vulnerable = sum(bool(package["vulns"]) for package in audited)
    said.append(f"{len(audited)} packages audited, {vulnerable} of them vulnerable.")
    return said, int(vulnerable > 0)


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "-r", str(PINS), "--no-deps", "--disable-pip", "-f", "json"]
    done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True)
    if "No module named" in done.stderr:
        sys.exit("pip-audit is not installed: make audit installs it.")
    sentences, code = judge(done.stdout)
    print("\n".join(sentences))
    return code


if __name__ == "__main__":
    sys.exit(main())
