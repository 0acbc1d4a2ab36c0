"""Do the tests notice? Faults are put into a copy of the code, one at a time, and tests run; `make mutants` calls it.

    python tools/mutants.py [MODULE…] [--sample 40] [--seed 0]

Cosmic Ray makes the mutants and keeps the results, in build/mutants: what was interrupted goes on, and where a module
or its tests have changed it begins anew. The tests run in a fork of this process, which has imported torch already.
"""

import argparse
import ast
import contextlib
import difflib
import hashlib
import importlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkResult
from hypothesis import Phase, settings
from scipy.stats import binomtest

ROOT = Path(__file__).resolve().parents[1]
# Below mixtransfer/, and the tests of each, below tests/, which take seconds.
GUARDS = {
    "backbones/mixconv.py": "backbones/test_mixconv.py",
    "backbones/fuse.py": "backbones/test_fuse.py backbones/test_folding.py",
    "data/splits.py": "data/test_splits.py",
    "data/draw.py": "data/test_draw.py data/test_datasets.py",
    "data/division.py": "data/test_division.py data/test_draw.py data/test_datasets.py",
    "data/preprocessing.py": "data/test_preprocessing.py",
    "data/checked.py": "data/test_checked.py",
    "data/layout.py": "data/test_layout.py",
    "data/lookup.py": "data/test_lookup.py data/test_manifest.py",
    "data/manifest.py": "data/test_manifest.py data/test_metadata.py",
    "data/once.py": "data/test_once.py",
    "data/packed_source.py": "data/test_packed_source.py",
    "data/quick_checks.py": "data/test_quick_checks.py",
    "data/split_file.py": "data/test_split_file.py",
    "data/table.py": "data/test_manifest.py data/test_metadata.py data/test_table.py",
    "classification/metrics.py": "classification/test_metrics.py classification/test_selection.py",
    "classification/module.py": "classification/test_module.py classification/test_training.py",
    "classification/recipe.py": "classification/test_module.py classification/test_training.py",
    "runs/schedule.py": "classification/test_module.py",
    "classification/selection.py": "classification/test_selection.py classification/test_head.py",
    "runs/averaging.py": "runs/test_averaging.py",
    "comparison/statistics.py": "comparison/test_statistics.py",
    "comparison/verdict.py": "comparison/test_verdict.py",
    "detection/bootstrap.py": "detection/test_bootstrap.py",
    "detection/matching.py": "detection/test_bootstrap.py detection/test_thresholds.py",
    "detection/mistakes.py": "detection/test_mistakes.py detection/test_thresholds.py",
    "detection/thresholds.py": "detection/test_thresholds.py",
    "detection/ssdlite/anchors.py": "detection/ssdlite/test_anchors.py",
    "detection/ssdlite/backbone.py": "detection/ssdlite/test_backbone.py",
    "detection/ssdlite/head.py": "detection/ssdlite/test_torchvision.py",
    "detection/ssdlite/losses.py": "detection/ssdlite/test_losses.py",
    "detection/ssdlite/matcher.py": "detection/ssdlite/test_matcher.py",
    "detection/ssdlite/model.py": "detection/ssdlite/test_model.py detection/ssdlite/test_torchvision.py",
    "detection/ssdlite/postprocess.py": "detection/ssdlite/test_postprocess.py",
}
# Bitwise operators on floats and the identity of arrays fail whatever is tested: these would flatter the tests.
POINTLESS = re.compile(r"BinaryOperator_\w+_(RShift|LShift|Bit\w+)$|ComparisonOperator_(?!Is)\w+_Is|_Invert")
# Survivors that compute the same: "module: line as mutated", and why.
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
HEAVY = ("lightning", "albumentations", "timm", "sklearn", "statsmodels.stats.api", "detectron2.modeling", "pytest")
PYTEST = ("-q", "-x", "-p", "no:cacheprovider", "--hypothesis-profile", "mutants")
FAILED = 1  # pytest's exit code


def annotated(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where the type annotations of a module begin and end: (line, column) each."""
    nodes = [getattr(node, field, None) for node in ast.walk(ast.parse(source)) for field in ("annotation", "returns")]
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes if n]


def prepare(work: WorkDB, module: Path, sample: int, seed: int) -> None:
    """Have all mutants of a module listed, and those skipped that are not worth a test or not in the sample."""
    init([module], work, {})
    spans = annotated(module.read_text(encoding="utf-8"))

    def counts(mutation: MutationSpec) -> bool:
        typed = any(start <= mutation.start_pos < end for start, end in spans)
        return not typed and not POINTLESS.search(mutation.operator_name)

    mutations = {item.job_id: item.mutations[0] for item in work.work_items}
    every = sorted(mutations, key=lambda job: (mutations[job].operator_name, mutations[job].occurrence))
    worth = [job for job in every if counts(mutations[job])]
    kept = set(random.Random(seed).sample(worth, min(sample or len(worth), len(worth))))
    work.set_multiple_results([job for job in every if job not in kept], WorkResult(WorkerOutcome.SKIPPED))


# The same examples each time; that one fails is enough, the simplest need not be found.
settings.register_profile("mutants", derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate])


def run_tests(tests: list[str], limit: float) -> int:
    """Pytest's exit code, in a process of its own; FAILED after so many seconds."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = FAILED
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            sys.path.insert(0, str(Path.cwd()))
            code = importlib.import_module("pytest").main([*PYTEST, *tests])
        finally:
            os._exit(code)
    end, done, status = time.monotonic() + limit, 0, 0
    try:
        while not done and time.monotonic() < end:
            time.sleep(0.02)
            done, status = os.waitpid(child, os.WNOHANG)
    finally:  # also if this process is interrupted
        if not done:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) if done else FAILED


def try_mutant(mutation: MutationSpec, tests: list[str], limit: float) -> WorkResult:
    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    with use_mutation(mutation.module_path, operator, mutation.occurrence) as (before, after):
        outcome = TestOutcome.KILLED if run_tests(tests, limit) else TestOutcome.SURVIVED
        changed = list(difflib.unified_diff(before.splitlines(), (after or "").splitlines(), lineterm="", n=1))
    return WorkResult(WorkerOutcome.NORMAL, test_outcome=outcome, diff="\n".join(changed[2:]))


def session(name: str, module: Path, tests: list[str], sample: int, seed: int) -> Path:
    """The file of results of a module, of these tests, and of this sample."""
    read = hashlib.sha256(f"{sample}/{seed}".encode())
    for path in (module, *map(Path, tests)):
        read.update(path.read_bytes())
    return ROOT / "build" / "mutants" / f"{name.replace('/', '.')}-{read.hexdigest()[:12]}.sqlite"


def examine(name: str, sample: int, seed: int) -> list[WorkResult]:
    """Try a module's mutants, or those that are left of them; the results of all.

    Raises:
        SystemExit: The tests fail without a mutation.
    """
    module, tests = Path("mixtransfer", name), [f"tests/{test}" for test in GUARDS[name].split()]
    file = session(name, module, tests, sample, seed)
    if not file.exists():
        with use_db(f"{file}.new", WorkDB.Mode.create) as work:
            prepare(work, module, sample, seed)
        Path(f"{file}.new").rename(file)
    with use_db(str(file), WorkDB.Mode.open) as work:
        if pending := list(work.pending_work_items):
            start = time.monotonic()
            if code := run_tests(tests, 600):
                sys.exit(f"{' '.join(tests)} fail without a mutation, with exit code {code}.")
            limit = 5 + 3 * (time.monotonic() - start)
            for item in pending:
                work.set_result(item.job_id, try_mutant(item.mutations[0], tests, limit))
        return [result for _, result in work.results if result.worker_outcome == WorkerOutcome.NORMAL]


def report(name: str, results: list[WorkResult], equivalent: set[str]) -> tuple[int, int]:
    """Print what became of a module's mutants; how many were killed, and of how many that are not equivalent."""
    survivors = [result.diff or "" for result in results if not result.is_killed]
    real = [diff for diff in survivors if f"{name}: {mutated_line(diff)}" not in equivalent]
    killed, count = len(results) - len(survivors), len(results) - len(survivors) + len(real)
    print(f"{name}: {share(killed, count)}, {len(survivors) - len(real)} equivalent", flush=True)
    for diff in real:
        print("    " + diff.replace("\n", "\n    "), flush=True)
    return killed, count


def mutated_line(diff: str) -> str:
    return next((line[1:].strip() for line in diff.splitlines() if line.startswith("+")), "")


def share(killed: int, count: int) -> str:
    if not count:
        return "no mutants"
    low, high = binomtest(killed, count).proportion_ci(method="wilson")
    return f"{killed} of {count} killed, {killed / count:.0%} (95 % interval {low:.0%} to {high:.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"one of {', '.join(GUARDS)}; by default all")
    parser.add_argument("--sample", type=int, default=40, help="mutants a module, drawn at random; 0 takes all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    options = parser.parse_args()
    if unknown := set(options.modules) - set(GUARDS):
        parser.error(f"no tests are named for {', '.join(sorted(unknown))}")
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    equivalent = {line.partition("  # ")[0].strip() for line in lines}
    (ROOT / "build" / "mutants").mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with the copy removed
    sys.dont_write_bytecode = True  # a mutant may be as old, to the second, as the code before it
    for heavy in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(heavy)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        hidden = shutil.ignore_patterns("__pycache__", ".*", "build", "runs")
        shutil.copytree(ROOT, copy, ignore=hidden)
        os.chdir(copy)
        os.environ["PYTHONPATH"] = str(copy)
        totals = [
            report(name, examine(name, options.sample, options.seed), equivalent) for name in options.modules or GUARDS
        ]
        os.chdir(ROOT)
    print(f"All: {share(*map(sum, zip(*totals, strict=True)))}")


if __name__ == "__main__":
    main()
