"""The environment a start works with: the process's own, then `.env`, then what the folder remembers."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from config.embedded.refusal import StartRefused

ROOT = Path(__file__).resolve().parents[2]
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


def read_dotenv(path: Path) -> dict[str, str]:
    """Read NAME=value lines; raise StartRefused naming the line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise StartRefused(f"{path.name} is not a text file in UTF-8.") from None
    except OSError as error:
        raise StartRefused(f"{path.name} cannot be read: {error.strerror}.") from None
    found = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise StartRefused(f"{path.name}, line {number}: this is not of the form NAME=value.")
        found[match.group(1)] = _unquoted(match.group(2), f"{path.name}, line {number}")
    return found


def _unquoted(value: str, place: str) -> str:
    if value[:1] in {"'", '"'}:
        end = value.find(value[0], 1)
        if end < 0:
            raise StartRefused(f"{place}: the quote opened by {value[0]} is not closed.")
        rest = value[end + 1 :].strip()
        if rest and not rest.startswith("#"):
            raise StartRefused(f"{place}: nothing may follow the closing {value[0]}.")
        return value[1:end]
    return value.split(" #", 1)[0].rstrip()


def load() -> dict[str, str]:
    """Return the environment of the platform; a variable that is set wins over its line in `.env`."""
    environment = read_dotenv(ROOT / ".env") | dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment["PYTHONUNBUFFERED"] = "1"
    environment["DATA_DIR"] = str(data_dir(environment))
    return environment


def data_dir(environment: Mapping[str, str]) -> Path:
    """Return the folder everything the platform keeps lies in."""
    chosen = Path(environment.get("DATA_DIR") or ".data").expanduser()
    return (ROOT / chosen).resolve()


def port(environment: Mapping[str, str], name: str, default: int) -> int:
    """Read a port; raise StartRefused naming the variable when it is none."""
    text = environment.get(name, "").strip() or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise StartRefused(f"{name} is {text!r}; it must be a port between 1 and 65535.")
    return int(text)
