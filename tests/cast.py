"""The people everybody knows: alice verified and funded, bob unverified, mallory another, olga operator."""

import time
from contextlib import AbstractContextManager
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.test import Client
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice
from rest_framework.test import APIClient

from config.core import clock
from kyc import services
from kyc.models import User
from payments.ledger.models import Account, Book
from payments.ledger.services import NewTransfer, open_book, post

PASSWORD = "correct-horse-battery"


def register(name: str, *, country: str = "AE", **given: Any) -> User:
    """Register a customer the way the API does."""
    return services.register_customer(
        email=f"{name}@example.com",
        password=given.pop("password", PASSWORD),
        country=country,
        born_on=given.pop("born_on", date(1990, 1, 31)),
        accepts_terms=True,
        **given,
    )


def fund(account: Account, amount: str) -> Account:
    """Move money from the book's capital to an account."""
    capital = Account.objects.get(book=account.book, owner=None, code=Account.Code.CAPITAL)
    with transaction.atomic():
        post([NewTransfer(uuid4(), capital.pk, account.pk, Decimal(amount), "deposit", "test")])
    account.refresh_from_db()
    return account


def account_of(user: User, kind: str) -> Account:
    """Return somebody's account in the book of a kind: real or demo."""
    return Account.objects.select_related("book").get(owner=user, book__kind=kind)


def client_for(user: User | None = None, **defaults: Any) -> APIClient:
    """Return a client of the API that carries somebody's bearer token, or nobody's."""
    client = APIClient(**defaults)
    if user is not None:
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {services.issue_tokens(user=user).access}")
    return client


def browser_for(user: User, *, verified: bool = False) -> Client:
    """Return a browser in which somebody is signed in; `verified`: with his second factor too."""
    client = Client()
    client.force_login(user, backend="kyc.authentication.PasswordBackend")
    if verified:
        session = client.session
        session[DEVICE_ID_SESSION_KEY] = TOTPDevice.objects.get(user=user, confirmed=True).persistent_id
        session.save()
    return client


def later(delta: timedelta) -> AbstractContextManager[None]:
    """Let this process live at another time, standing."""
    then = clock.now() + delta
    return clock.ticking(lambda: then)


def code_of(device: TOTPDevice, *, ahead: int = 0) -> str:
    """Return the code an app shows now, or so many steps ahead; a code works once."""
    if device.pk:
        device.refresh_from_db()
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits, device.drift)
    totp.time = time.time() + ahead * device.step
    return f"{totp.token():06d}"


def enrolled(user: User) -> TOTPDevice:
    """Give somebody an authenticator app that is in force."""
    return TOTPDevice.objects.create(user=user, name="authenticator app", confirmed=True)


@pytest.fixture
def sandbox(db: None) -> None:
    """Allow real money in AE, refuse KP."""
    for country, sanctioned in (("AE", False), ("KP", True)):
        services.change_jurisdiction(
            country=country,
            is_sanctioned=sanctioned,
            allows_real=not sanctioned,
            licence_reference="" if sanctioned else "SANDBOX",
            actor=None,
            reason="test",
        )


@pytest.fixture
def books(db: None) -> dict[str, Book]:
    """Open the demo book and the book of real dollars, with their system accounts."""
    demo = open_book(
        code="demo", name="Demo", kind="demo", currency="USD", scale=2, opening_balance=Decimal("10000.00")
    )
    return {
        "demo": demo,
        "real": open_book(code="real-usd", name="US dollars", kind="real", currency="USD", scale=2),
    }


@pytest.fixture
def alice(sandbox: None, books: dict[str, Book]) -> User:
    """Verified, with 1,000.00 of real and 10,000.00 of demo money."""
    user = register("alice")
    User.objects.filter(pk=user.pk).update(email_verified_at=clock.now())
    fund(account_of(user, "real"), "1000.00")
    user.refresh_from_db()
    return user


@pytest.fixture
def bob(sandbox: None, books: dict[str, Book]) -> User:
    """Registered a moment ago: nothing verified, nothing paid in."""
    return register("bob")


@pytest.fixture
def mallory(sandbox: None, books: dict[str, Book]) -> User:
    """Somebody else, from a country where only demo money is offered."""
    return register("mallory", country="DE")


@pytest.fixture
def olga(db: None) -> User:
    """The operator, with an authenticator app in force."""
    user, _ = services.invite_operator(email="olga@example.com")
    user.set_password(PASSWORD)
    user.is_staff = user.is_superuser = True
    user.save(update_fields=["password", "is_staff", "is_superuser"])
    enrolled(user)
    return user
