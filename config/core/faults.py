"""Points where drills make a process fail: FAULTPOINT="settle.after_claim:exit" (or raise, or sleep=0.5)."""

import os
import time

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class Fault(Exception):
    """Raised by an armed fault point."""


_name, _, _action = os.environ.get("FAULTPOINT", "").partition(":")
if _name and settings.ENVIRONMENT == "production":
    raise ImproperlyConfigured("FAULTPOINT is for drills; production refuses to start with it.")


def faultpoint(name: str) -> None:
    """Do nothing, unless this point is armed: then raise Fault, sleep, or end as by kill -9."""
    if name != _name:
        return
    if _action == "raise":
        raise Fault(name)
    if _action == "exit":
        os._exit(137)
    time.sleep(float(_action.removeprefix("sleep=")))
