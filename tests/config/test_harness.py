"""The ground other tests stand on: who may do what, and that nothing is left for the next test."""

import pytest
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connections

from config.core.clock import now


@pytest.mark.django_db(databases=["default", "owner"])
def test_the_application_owns_nothing_and_is_no_superuser():
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        )
        assert cursor.fetchone() == (False, False, False)
        cursor.execute("SELECT count(*) FROM pg_class WHERE relowner = current_user::regrole")
        assert cursor.fetchone() == (0,)
        cursor.execute("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
        assert cursor.fetchone() == ("2s", "10s")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_test_commits_is_gone_in_the_next(turn):
    assert Session.objects.count() == 0
    assert ContentType.objects.count() > 0
    Session.objects.create(session_key="k", session_data="", expire_date=now())
