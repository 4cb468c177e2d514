"""The registry of typed facts: one frozen dataclass per fact, its name, and how it is written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, dataclass_transform

import msgspec

VERSION = 1
_registered: dict[str, type["FactData"]] = {}


class FactData:
    """The payload of a fact; subclasses are declared with `@fact`."""

    fact_name: ClassVar[str]


T = TypeVar("T", bound=type[FactData])


@dataclass_transform(frozen_default=True, kw_only_default=True)
def fact(name: str) -> Callable[[T], T]:
    """Declare a fact: `@fact("order.won") class OrderWon(FactData): …`. Names are unique."""

    def declare(cls: T) -> T:
        if name in _registered:
            raise ValueError(f"two facts are called {name}")
        declared: Any = dataclass(frozen=True, kw_only=True, slots=True)(cls)
        declared.fact_name = name
        _registered[name] = declared
        return declared

    return declare


def registered() -> dict[str, type[FactData]]:
    """Return every declared fact by name."""
    return dict(_registered)


def payload(data: FactData) -> dict[str, Any]:
    """Return the JSON-ready payload: decimals and instants as strings, `v` for the version of its shape."""
    return {"v": VERSION, **msgspec.to_builtins(data)}


def encode(data: FactData) -> str:
    """Return the payload as JSON text, for statements that write facts themselves."""
    return f'{{"v":{VERSION},' + msgspec.json.encode(data)[1:].decode()


def schema(cls: type[FactData]) -> dict[str, Any]:
    """Return the JSON Schema of a fact's payload."""
    document = msgspec.json.schema(cls)
    definition = document["$defs"][cls.__name__]
    definition["properties"] = {"v": {"const": VERSION}, **definition["properties"]}
    definition["required"] = ["v", *definition.get("required", [])]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": cls.fact_name, **document}
