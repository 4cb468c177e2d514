"""Money in the console is looked at and never edited."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import RequestFactory

from config.core import clock
from kyc.models import User
from payments.ledger.models import Transfer
from tests.payments import bank

MODELS = list(apps.get_app_config("ledger").get_models())


@pytest.fixture
def request_of_olga(db):
    request = RequestFactory().get("/admin/")
    request.user = User.objects.create(
        email="olga@example.com", is_staff=True, is_superuser=True, registered_at=clock.now()
    )
    return request


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_nobody_writes(model, request_of_olga):
    page = admin.site._registry[model]
    assert page.has_view_permission(request_of_olga)
    assert not page.has_add_permission(request_of_olga)
    assert not page.has_change_permission(request_of_olga)
    assert not page.has_delete_permission(request_of_olga)
    assert page.get_actions(request_of_olga) == {}


def test_the_newest_transfers_come_first_and_are_not_counted(request_of_olga, django_assert_max_num_queries):
    book = bank.book()
    alice = bank.account(book, holds="10")
    page = admin.site._registry[Transfer]
    with django_assert_max_num_queries(1):
        rows = list(page.get_changelist_instance(request_of_olga).result_list)
    assert [row.destination_id for row in rows] == [alice.pk]
