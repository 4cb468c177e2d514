"""The one way to a secret: by name, from the environment or from a file; never from the database."""

import os
import re
from pathlib import Path

from django.conf import settings

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,59}")


class SecretMissing(Exception):
    """No secret has that name; says where it was looked for."""


def get_secret(name: str) -> str:
    """Return the secret of that name: the variable SECRET_<NAME>, else the file <name> in SECRETS_DIR.

    In the variable's name `.` and `-` become `_`. Raises SecretMissing when there is none.
    """
    if not _NAME.fullmatch(name):
        raise SecretMissing(f"{name!r} cannot be the name of a secret")
    variable = "SECRET_" + re.sub(r"[.-]", "_", name).upper()
    if found := os.environ.get(variable):
        return found
    path = Path(settings.SECRETS_DIR) / name if settings.SECRETS_DIR else None
    if path is not None and path.is_file():
        return path.read_text().strip()
    raise SecretMissing(f"there is no secret {name}: set {variable} or put a file {name} into SECRETS_DIR")
