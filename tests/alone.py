"""Scripts where nothing of ours is installed."""

import subprocess
import sys

ALONE = """
import runpy, sys
sys.modules.update(dict.fromkeys(("mixtransfer", "torch", "timm"), None))  # importing one of them fails
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def alone(script, *images) -> str:
    """What a script prints where there is nothing of ours."""
    code = "import sys; sys.argv[:] = sys.argv[1:]\n" + ALONE.replace("sys.argv[1]", "sys.argv[0]")
    found = subprocess.run([sys.executable, "-c", code, script, *images], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout
