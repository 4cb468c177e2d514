"""`.env.example` documents every switch, and only switches that exist."""

import re

from config.embedded.environment import ROOT, read_dotenv

# Told by the launcher to each role, or set by test runs; nobody writes them into a file.
INTERNAL = {"ROLE", "METRICS_PORT", "FAULTPOINT"}
# Read by the Procfile and the launcher.
LAUNCHER = {"HOST", "METRICS_PORT_BASE", "WEB_WORKERS", "WEB_THREADS", "WORKER_CONCURRENCY", "PG_BIN"}


def documented() -> set[str]:
    return set(re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))


def test_every_switch_of_the_settings_is_documented():
    source = (ROOT / "config" / "settings.py").read_text()
    read = set(re.findall(r'env\.(?:text|flag|number|words|folder)\(\s*"([A-Z_]+)"', source))
    assert documented() == (read - INTERNAL) | LAUNCHER


def test_uncommented_it_is_a_readable_file(tmp_path):
    lines = (ROOT / ".env.example").read_text().splitlines()
    text = "\n".join(re.sub(r"^#([A-Z_]+=)", r"\1", line) for line in lines)
    (tmp_path / ".env").write_text(text)
    values = read_dotenv(tmp_path / ".env")
    assert set(values) == documented()
    assert values["DEFAULT_FROM_EMAIL"] == "Tickhouse <no-reply@trade.example.com>"


def test_a_line_may_be_quoted_commented_or_exported(tmp_path):
    (tmp_path / ".env").write_text("A = 'one # two'  # three\nexport B=x y # z\n\n# C=1\nD=\nE=a#b\n")
    assert read_dotenv(tmp_path / ".env") == {"A": "one # two", "B": "x y", "D": "", "E": "a#b"}
