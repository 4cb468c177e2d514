"""Rights are given all at once or not at all."""

import pytest
from django.apps import apps
from django.db import connections

from config.core.rights import grant


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_granting_that_fails_half_way_widens_nothing(monkeypatch):
    def fail(**_):
        raise RuntimeError("half way")

    with monkeypatch.context() as failing:
        failing.setattr(apps, "get_models", fail)
        with pytest.raises(RuntimeError, match="half way"):
            grant()
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT has_table_privilege('quotes_tick', 'UPDATE')")
        assert cursor.fetchone() == (False,)
