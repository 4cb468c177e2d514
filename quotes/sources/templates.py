"""Messages and paths as operators configure them: what to send, where in a frame to look."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from quotes.sources.options import Options

PLACEHOLDER = re.compile(r"\{(secret|symbol|symbols)\}")
LONGEST_PATH = 100


class Missing:
    """Stands for what a frame does not hold, which null is not."""


MISSING: Final = Missing()


def placeholders(template: Any) -> set[str]:
    """Return which of {secret}, {symbol} and {symbols} stand in a message."""
    if isinstance(template, str):
        return set(PLACEHOLDER.findall(template))
    if isinstance(template, Mapping):
        return set().union(*map(placeholders, (*template.keys(), *template.values())))
    if isinstance(template, list):
        return set().union(*map(placeholders, template))
    return set()


def fill(template: Any, values: Mapping[str, str | Sequence[str]]) -> Any:
    """Return a message with its placeholders replaced.

    Several symbols are joined by commas; in a list, where they stand alone, they become its items.
    """
    if isinstance(template, str):
        return PLACEHOLDER.sub(lambda found: _text(values[found[1]]), template)
    if isinstance(template, Mapping):
        return {fill(key, values): fill(value, values) for key, value in template.items()}
    if isinstance(template, list):
        filled: list[Any] = []
        for each in template:
            if each == "{symbols}":
                filled += values["symbols"]
            else:
                filled.append(fill(each, values))
        return filled
    return template


def _text(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ",".join(value)


def check_path(path: str) -> None:
    """Refuse what is no path; raise ValueError."""
    if not path or len(path) > LONGEST_PATH or not all(path.split(".")):
        raise ValueError(f"{path!r} is no path: names and numbers with dots between, as in data.0.bid")


def find(value: Any, path: str) -> Any:
    """Return what lies at a path, MISSING where it leads nowhere."""
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step, MISSING)
        elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return MISSING
    return value


class Match(Options, frozen=True):
    """Recognises a frame by the `value` at a `path`, or without one by anything being there but null."""

    path: str
    value: str | int | float | bool | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        check_path(self.path)

    def holds(self, part: Any) -> bool:
        """Tell whether it is there."""
        found = find(part, self.path)
        if self.value is msgspec.UNSET:
            return found is not MISSING and found is not None
        # True is no 1 in JSON.
        return isinstance(found, bool) is isinstance(self.value, bool) and bool(found == self.value)
