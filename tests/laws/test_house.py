"""The house keeps its size and its words, and its tables match its models."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parents[2]
KERNEL = ROOT / "config" / "core"
# The kernel proper, which every app leans on. Beside it in the same package: the base of API views, how
# processes run, and the operator console's own shelf.
API = {"formats", "http"}
RUNNING = {
    "callers",
    "checks",
    "faults",
    "health",
    "leader",
    "logs",
    "middleware",
    "redis",
    "rights",
    "secrets",
    "workers",
    "throttle",
}
CONSOLE = {"admin", "console"}
KERNEL_LINES = 971
API_LINES = 250
RUNNING_LINES = 630
SKIPPED = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(path):
    """Count the lines that hold code: no blank ones, comments or docstrings."""
    source = path.read_text()
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SKIPPED:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def sizes():
    return {path: code_lines(path) for path in KERNEL.rglob("*.py") if "migrations" not in path.parts}


def test_the_kernel_stays_small():
    kernel = {path.stem: n for path, n in sizes().items() if path.stem not in API | RUNNING | CONSOLE}
    api = {path.stem: n for path, n in sizes().items() if path.stem in API}
    running = {path.stem: n for path, n in sizes().items() if path.stem in RUNNING}
    assert sum(kernel.values()) <= KERNEL_LINES, kernel
    assert sum(api.values()) <= API_LINES, api
    assert sum(running.values()) <= RUNNING_LINES, running


def test_no_module_grows_past_four_hundred_lines():
    folders = [ROOT / name for name in ("config", "kyc", "quotes", "payments", "trading")]
    paths = [path for folder in folders for path in folder.rglob("*.py") if "migrations" not in path.parts]
    long = {
        str(path.relative_to(ROOT)): n for path in paths if (n := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


@pytest.mark.parametrize("word", ["demo", "tournament"])
def test_the_engine_does_not_know_modes(word):
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "trading").rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(word, line, re.IGNORECASE)
    ]
    assert found == []


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
