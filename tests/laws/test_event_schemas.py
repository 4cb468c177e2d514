"""What is written down about facts is what they are."""

import json

import jsonschema
import pytest
from django.conf import settings

from config.core import facts
from config.management.commands.write_event_schemas import documents

FOLDER = settings.BASE_DIR / "docs" / "events"


def of_apps():
    return {name: text for name, text in documents().items() if not name.startswith("test.")}


def test_the_schemas_on_disk_are_current():
    on_disk = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert on_disk == of_apps(), "run: manage.py write_event_schemas"


def test_there_are_schemas_and_they_are_schemas():
    assert {"order.won.json", "account.changed.json"} <= set(of_apps())
    for text in of_apps().values():
        jsonschema.Draft202012Validator.check_schema(json.loads(text))


def test_a_payload_obeys_its_schema_and_a_wrong_one_does_not():
    from kyc.facts import CustomerSignedOut

    schema = facts.schema(CustomerSignedOut)
    payload = facts.payload(CustomerSignedOut(customer=1, sign_in=None, reason="left"))
    jsonschema.validate(payload, schema)
    assert json.loads(facts.encode(CustomerSignedOut(customer=1, sign_in=None, reason="left"))) == payload
    for wrong in ({**payload, "customer": "1"}, {**payload, "v": 2}, {"v": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
