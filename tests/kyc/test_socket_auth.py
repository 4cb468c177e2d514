import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import AnonymousUser

from config.core import redis
from kyc import services, tickets
from kyc.authentication import session_name
from kyc.middleware import SocketAuth
from kyc.models import RefreshFamily
from tests.cast import browser_for, client_for

pytestmark = pytest.mark.django_db(transaction=True)


async def who(query=b"", **headers):
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)

    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    await SocketAuth(app)({"type": "websocket", "query_string": query, "headers": given}, None, None)
    return seen["user"], seen["sign_in"]


def ticket_of(client):
    answer = client.post("/api/v1/auth/socket-ticket")
    assert answer.json()["expires_in_seconds"] == 30
    return answer.json()["ticket"]


async def test_a_bearer_is_known_with_his_sign_in(bob):
    pair = await sync_to_async(services.issue_tokens)(user=bob)
    family = await RefreshFamily.objects.aget(user=bob)
    assert await who(authorization=f"Bearer {pair.access}") == (bob, f"family:{family.pk.hex}")
    assert await who(authorization=f"Bearer {pair.refresh}") == (AnonymousUser(), "")
    await sync_to_async(services.sign_out)(user_id=bob.pk, family=family.pk)
    assert await who(authorization=f"Bearer {pair.access}") == (AnonymousUser(), "")


async def test_a_page_is_known_by_its_cookie(bob, olga):
    browser = await sync_to_async(browser_for)(bob)
    key = browser.cookies[settings.SESSION_COOKIE_NAME].value
    cookie = f"other=1; {settings.SESSION_COOKIE_NAME}={key}"
    assert await who(cookie=cookie) == (bob, session_name(key))
    assert await who(cookie=f"{settings.SESSION_COOKIE_NAME}=made-up") == (
        AnonymousUser(),
        session_name("made-up"),
    )
    await sync_to_async(services.restrict)(customer=bob, scope="sign_in", reason="why", actor=olga)
    assert (await who(cookie=cookie))[0] == AnonymousUser()


async def test_a_ticket_opens_one_socket(bob):
    client = await sync_to_async(client_for)(bob)
    ticket = await sync_to_async(ticket_of)(client)
    family = await RefreshFamily.objects.aget(user=bob)
    answers = await asyncio.gather(*(who(query=f"ticket={ticket}".encode()) for _ in range(8)))
    assert sorted(sign_in for _, sign_in in answers) == [""] * 7 + [f"family:{family.pk.hex}"]
    assert [user for user, sign_in in answers if sign_in] == [bob]


async def test_a_page_s_ticket_carries_its_session(bob):
    browser = await sync_to_async(browser_for)(bob)
    ticket = await sync_to_async(ticket_of)(browser)
    key = browser.cookies[settings.SESSION_COOKIE_NAME].value
    assert await who(query=f"ticket={ticket}".encode()) == (bob, session_name(key))


async def test_a_ticket_of_a_page_that_signed_out_opens_nothing(bob):
    browser = await sync_to_async(browser_for)(bob)
    ticket = await sync_to_async(ticket_of)(browser)
    await sync_to_async(browser.logout)()
    assert (await who(query=f"ticket={ticket}".encode()))[0] == AnonymousUser()


async def test_a_ticket_of_a_page_whose_password_changed_opens_nothing(bob):
    browser = await sync_to_async(browser_for)(bob)
    ticket = await sync_to_async(ticket_of)(browser)
    bob.set_password("another password of bob")
    await bob.asave()
    assert (await who(query=f"ticket={ticket}".encode()))[0] == AnonymousUser()


async def test_a_socket_can_ask_whether_its_sign_in_lives(bob):
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)

    async def opened(query=b"", **headers):
        given = [(name.encode(), value.encode()) for name, value in headers.items()]
        await SocketAuth(app)({"type": "websocket", "query_string": query, "headers": given}, None, None)
        assert seen["user"] == bob
        return seen["is_signed_in"]

    pair = await sync_to_async(services.issue_tokens)(user=bob)
    family = await RefreshFamily.objects.aget(user=bob)
    browser = await sync_to_async(browser_for)(bob)
    key = browser.cookies[settings.SESSION_COOKIE_NAME].value
    ticket = await sync_to_async(ticket_of)(browser)
    by_token = await opened(authorization=f"Bearer {pair.access}")
    by_page = await opened(cookie=f"{settings.SESSION_COOKIE_NAME}={key}")
    by_ticket = await opened(query=f"ticket={ticket}".encode())
    assert [await lives() for lives in (by_token, by_page, by_ticket)] == [True, True, True]
    await sync_to_async(services.sign_out)(user_id=bob.pk, family=family.pk)
    assert [await lives() for lives in (by_token, by_page, by_ticket)] == [False, True, True]
    await sync_to_async(browser.logout)()
    assert [await lives() for lives in (by_token, by_page, by_ticket)] == [False, False, False]


def test_a_ticket_is_stored_hashed_and_for_thirty_seconds():
    ticket = tickets.issue(user_id=1, proof="page:x")
    keys = [key.decode() for key in redis.client().keys(redis.key("socket-ticket:*"))]
    assert len(keys) == 1
    assert ticket not in keys[0]
    assert 0 < redis.client().ttl(keys[0]) <= 30
    assert tickets.redeem("another") is None
    assert tickets.redeem(ticket) == (1, "page:x")
    assert tickets.redeem(ticket) is None
