"""What the views of this app share: ticks, pages, and bodies read into their shapes."""

import re
from typing import Any, TypeVar

import msgspec
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from config.core.errors import Invalid

S = TypeVar("S", bound=msgspec.Struct)


LIMIT = OpenApiParameter("limit", int)


class TickOutput(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    seq = serializers.IntegerField()
    price = serializers.CharField()


def listed(output: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """Return the serializer of a page of `output`, for the API's description."""
    name = output.__name__.removesuffix("Output")
    return type(
        f"{name}PageOutput",
        (serializers.Serializer,),
        {"results": output(many=True), "next": serializers.CharField(allow_null=True)},
    )


def read(shape: type[S], data: Any) -> S:
    """Read a command's body into its shape; raise Invalid naming the field that does not fit."""
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError as refused:
        path = re.search(r"at `\$\.(\w+)`|field `(\w+)`", str(refused))
        field = next(filter(None, path.groups())) if path else "non_field_errors"
        what = str(refused).partition(" - at ")[0]
        raise Invalid(f"{field}: {what}.", errors={field: [what]}) from None
