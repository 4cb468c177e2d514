"""The documents tell the truth: what they name exists. The words of the project are its own."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.utils.module_loading import autodiscover_modules

from config.openapi import kinds
from trading.models import Order
from trading.rules import TRANSITIONS
from trading.services.acceptance import RULES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").glob("*.md")])
COMMANDED = [*PAGES, *(path for path in (ROOT / "deploy").iterdir() if path.is_file()), ROOT / "Procfile"]
NOT_OURS = {
    ".git",
    ".venv",
    ".data",
    "node_modules",
    "staticfiles",
    "vendor",
    "img",
    "__pycache__",
    ".hypothesis",
}
TEXTS = {
    ".py",
    ".md",
    ".html",
    ".txt",
    ".mjs",
    ".js",
    ".css",
    ".sql",
    ".sh",
    ".yml",
    ".yaml",
    ".toml",
    ".json",
    ".conf",
    "",
}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def plain(markdown: str) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", plain(text_of(page)), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(page: str, title: str) -> str:
    """Return what stands under a heading, up to the next of its rank or above."""
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", text_of(ROOT / page), re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"{page} has no section {title}"
    return found[2]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- What the pages point to --------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", plain(text_of(page))):
        if re.match(r"[a-z]+://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`([\w.@-]+/[\w./@-]+\.(?:py|sql|conf|mjs|json|md|service))`", text_of(page))
    made = ("bench/", ".data/")  # by running it, not by cloning it
    assert [path for path in named if not (ROOT / path).exists() and not path.startswith(made)] == []


def test_the_life_of_an_order_is_the_table() -> None:
    rows = re.findall(
        r"^\| (?:`(\w+)`)? ?\| `(\w+)` \| `([\w.]+)` \| `(\w+)` \|$",
        text_of(ROOT / "ARCHITECTURE.md"),
        re.MULTILINE,
    )
    assert rows == [tuple(step) for step in TRANSITIONS]


# --- What they tell people to do ----------------------------------------------------------------------


def uses_of_commands() -> Iterator[tuple[str, str, str]]:
    for path in COMMANDED:
        for name, rest in re.findall(r"manage\.py ([a-z_]+)((?: [^`\n#|]*)?)", text_of(path)):
            yield name_of(path), name, rest


def test_commands_exist_with_their_options() -> None:
    known, wrong = get_commands(), []
    for where, name, rest in uses_of_commands():
        if name not in known:
            wrong.append(f"{where}: {name}")
            continue
        app = known[name]
        command = load_command_class(app, name) if isinstance(app, str) else app
        options = command.create_parser("manage.py", name)._option_string_actions
        wrong += [
            f"{where}: {name} {given}" for given in re.findall(r"--[a-z-]+", rest) if given not in options
        ]
    assert wrong == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), flags=re.MULTILINE))
    named = {
        name for page in PAGES for name in re.findall(r"(?:`|^)make ([a-z]+)", text_of(page), re.MULTILINE)
    }
    assert {"run", "test"} <= named
    assert named <= targets


def test_roles_exist() -> None:
    roles = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Procfile"), flags=re.MULTILINE))
    units = {name for page in PAGES for name in re.findall(r"tickhouse@([a-z]+)", text_of(page))}
    assert units - {"service"} == roles
    listed = re.findall(r"^\| (\w+) \|", section("README.md", "The roles"), flags=re.MULTILINE)
    assert set(listed) - {"role"} == roles


def test_switches_exist() -> None:
    documented = set(re.findall(r"^#([A-Z_]+)=", text_of(ROOT / ".env.example"), flags=re.MULTILINE))
    # Not for a `.env`: told by whoever starts a role or a test run.
    told = {"METRICS_PORT", "PROMETHEUS_MULTIPROC_DIR", "SHARED_DATA", "SECRET_SOURCE_OANDA"}
    named = {word for page in PAGES for word in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text_of(page))}
    assert named - documented - told == set()
    sources = "".join(
        text_of(path) for folder in ("config", "tests") for path in (ROOT / folder).rglob("*.py")
    )
    assert {word for word in told if f'"{word}"' not in sources} == set()


# --- What they say of the code ------------------------------------------------------------------------


def test_every_metric_is_in_the_runbook_and_no_other() -> None:
    declared = set()
    for app in ("config/core", "kyc", "quotes", "payments", "trading"):
        for path in (ROOT / app).rglob("*.py"):
            declared |= set(re.findall(r'(?:Counter|Gauge|Histogram)\(\s*"(\w+)"', text_of(path)))
    listed = re.findall(
        r"`(\w+)`",
        "".join(
            row.split("|")[1]
            for row in section("docs/operations.md", "Metrics and alarms").splitlines()
            if row[:3] == "| `"
        ),
    )
    assert {name.removesuffix("_total") for name in declared} == set(listed)
    assert len(listed) == len(set(listed))


def test_the_rules_of_placement_are_described_in_their_order() -> None:
    rows = re.findall(
        r"^\| (\d+) \|.*\|([^|]*)\|$", section("ARCHITECTURE.md", "Placement"), flags=re.MULTILINE
    )
    assert [int(number) for number, _ in rows] == list(range(1, len(RULES) + 1))
    autodiscover_modules("errors")
    codes = {code for _, refusals in rows for code in re.findall(r"`(\w+)`", refusals)}
    assert codes <= {kind.code for kind in kinds()}


def test_every_refund_is_described() -> None:
    settlement = section("ARCHITECTURE.md", "Settlement")
    assert {reason for reason in Order.RefundReason.values if f"`{reason}`" not in settlement} == set()


def requirements() -> set[str]:
    lines = [line for name in ("", "-dev") for line in text_of(ROOT / f"requirements{name}.txt").splitlines()]
    return {re.split(r"[\[=]", line)[0] for line in lines if re.match(r"\w", line)}


def test_every_requirement_is_pinned_and_decided() -> None:
    lines = [line for name in ("", "-dev") for line in text_of(ROOT / f"requirements{name}.txt").splitlines()]
    loose = [line for line in lines if re.match(r"\w", line) and "==" not in line]
    assert loose == []
    entries = section("DECISIONS.md", "Runtime") + section("DECISIONS.md", "Development")
    heads = [line.split(":", 1)[0] for line in entries.splitlines() if line.startswith("- ")]
    extras = {"binary", "dependency", "server"}
    named = {name for head in heads for name in re.findall(r"`([\w-]+)`", head)} - extras
    assert named == requirements()


# --- Words --------------------------------------------------------------------------------------------


def texts() -> Iterator[Path]:
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        is_ours = not NOT_OURS & set(parts) and not parts[0].endswith("_cache")
        if is_ours and path.suffix in TEXTS and path.name not in {".env", "LICENSE"} and path.is_file():
            yield path


# How the work was organised, and where, is nobody's business here; nor is anything left for later.
PLACES = re.compile(
    r"/work/|/tmp/|/root/|shared/design|shared/seeds|\bissues? #?\d|\b(?:this|previous|earlier|next) issue\b"
    r"|\b(?:TODO|FIXME|XXX|HACK)\b|language model|\bco-authored"
)
# What the glossary leaves out.
GLOSSARY = re.compile(r"\b(?:bets?|betting|deals?|wallets?|coins?)\b", re.IGNORECASE)


def offences(pattern: "re.Pattern[str]", paths: Iterable[Path]) -> list[str]:
    return [
        f"{name_of(path)}:{number}: {found[0]}"
        for path in paths
        if path != Path(__file__).resolve()
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if (found := pattern.search(line))
    ]


def test_nothing_tells_of_how_it_was_made() -> None:
    assert offences(PLACES, texts()) == []


def test_the_words_are_those_of_the_glossary() -> None:
    assert offences(GLOSSARY, texts()) == []


def test_what_is_wrong_is_seen() -> None:
    assert PLACES.search("as issue 7 asks")
    assert PLACES.search("kept in /tmp/here")
    assert GLOSSARY.search("place a Bet")
    assert not GLOSSARY.search("account_balance_wallet")
    assert not PLACES.search("tickets.issue(user_id=1)")
