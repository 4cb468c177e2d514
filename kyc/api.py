"""Sign-up, sign-in, tokens, the second factor and the customer himself, as JSON."""

from typing import Any

from django.contrib.auth import logout
from django.contrib.auth.signals import user_logged_in
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from config.core import clock
from config.core.callers import client_ip
from config.core.errors import Unauthenticated
from config.core.http import ApiView
from config.core.throttle import Limit
from kyc import selectors, services, tickets
from kyc.authentication import check_password, session_name
from kyc.errors import OtpRequired
from kyc.models import User
from kyc.tokens import Claims, decode

# Long passwords are welcome, but hashing megabytes is somebody's attack.
PASSWORD: dict[str, Any] = {"max_length": 1024, "trim_whitespace": False}
SIGN_UP = Limit("sign-up", per_second=1 / 60, burst=10, per="ip")
SIGN_IN = Limit("sign-in", per_second=0.5, burst=20, per="ip")
REFRESH = Limit("refresh", per_second=1, burst=60, per="ip")
CODES = Limit("otp", per_second=0.2, burst=10)


class Person(serializers.Serializer[Any]):
    """What a customer is told about himself."""

    id = serializers.IntegerField()
    email = serializers.EmailField()
    country = serializers.CharField()
    born_on = serializers.DateField(allow_null=True)
    language = serializers.CharField()
    time_zone = serializers.CharField()
    registered_at = serializers.DateTimeField()
    otp_enabled = serializers.BooleanField()
    real_allowed = serializers.BooleanField(help_text="Whether the law of the country allows real money.")
    reason = serializers.CharField(help_text="Why, or why not, in words.")


def person(user: User) -> dict[str, Any]:
    """Render what a customer is told about himself."""
    law = selectors.allowance(user.country)
    return {
        "id": user.pk,
        "email": user.email,
        "country": user.country,
        "born_on": user.born_on,
        "language": user.language,
        "time_zone": user.time_zone,
        "registered_at": user.registered_at,
        "otp_enabled": selectors.has_otp(user),
        "real_allowed": law.real_allowed,
        "reason": law.reason,
    }


def answers(kind: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the validated input; raise a refusal with the messages by field."""
    given = kind(data=request.data)
    given.is_valid(raise_exception=True)
    return given.validated_data


def me(request: Request) -> User:
    """Return who asks; permissions have let nobody else through."""
    if not isinstance(request.user, User):
        raise Unauthenticated
    return request.user


class PublicView(ApiView):
    """Open to everybody, and blind to who is signed in: no cookie, so no forgery."""

    authentication_classes = ()
    permission_classes = (AllowAny,)


class Register(PublicView):
    """Open an account with demo money; the answer says whether the country allows real money too."""

    throttle = SIGN_UP

    class Input(serializers.Serializer[Any]):
        email = serializers.CharField(max_length=254)
        password = serializers.CharField(**PASSWORD)
        country = serializers.CharField(max_length=2)
        born_on = serializers.DateField()
        accepts_terms = serializers.BooleanField()
        language = serializers.CharField(max_length=10, default="en")
        time_zone = serializers.CharField(max_length=64, default="UTC")

    @extend_schema(request=Input, responses={201: Person})
    def post(self, request: Request) -> Response:
        user = services.register_customer(**answers(self.Input, request))
        return Response(person(user), status=201)


class Pair(serializers.Serializer[Any]):
    """A token pair."""

    access = serializers.CharField()
    refresh = serializers.CharField()
    access_expires_at = serializers.DateTimeField()
    refresh_expires_at = serializers.DateTimeField()


def _pair(pair: services.TokenPair) -> Response:
    return Response(
        {
            "access": pair.access,
            "refresh": pair.refresh,
            "access_expires_at": pair.access_expires_at,
            "refresh_expires_at": pair.refresh_expires_at,
        }
    )


class Token(PublicView):
    """Sign in with e-mail and password, and with a code where a second factor is enrolled."""

    throttle = SIGN_IN

    class Input(serializers.Serializer[Any]):
        email = serializers.CharField(max_length=254)
        password = serializers.CharField(**PASSWORD)
        otp = serializers.CharField(max_length=32, required=False, allow_blank=True)

    @extend_schema(request=Input, responses=Pair)
    def post(self, request: Request) -> Response:
        given = answers(self.Input, request)
        origin = request._request
        user = check_password(origin, email=given["email"], password=given["password"])
        if selectors.has_otp(user):
            if not given.get("otp"):
                raise OtpRequired
            services.verify_otp(user=user, code=given["otp"])
        agent = request.META.get("HTTP_USER_AGENT", "")
        pair = services.issue_tokens(user=user, ip=client_ip(request), agent=agent)
        user_logged_in.send(sender=User, request=origin, user=user)
        return _pair(pair)


class Refresh(PublicView):
    """Exchange a refresh token for the next pair; each works once."""

    throttle = REFRESH

    class Input(serializers.Serializer[Any]):
        refresh = serializers.CharField(max_length=2048)

    @extend_schema(request=Input, responses=Pair)
    def post(self, request: Request) -> Response:
        return _pair(services.refresh_tokens(**answers(self.Input, request)))


class Logout(ApiView):
    """End this sign-in: by its refresh token, by its access token, or the page's session."""

    permission_classes = (AllowAny,)
    throttle = REFRESH

    class Input(serializers.Serializer[Any]):
        refresh = serializers.CharField(max_length=2048, required=False)

    @extend_schema(request=Input, responses={204: None})
    def post(self, request: Request) -> Response:
        refresh = answers(self.Input, request).get("refresh")
        if refresh is not None:
            claims = decode(refresh, "refresh")
            services.sign_out(user_id=claims.user_id, family=claims.family)
        elif isinstance(request.auth, Claims):
            services.sign_out(user_id=request.auth.user_id, family=request.auth.family)
        elif request.user.is_authenticated:
            services.end_page_session(user=me(request), session=session_name(request.session.session_key))
            logout(request._request)
        return Response(status=204)


class OtpStatus(ApiView):
    """Tell whether a second factor is enrolled."""

    class Output(serializers.Serializer[Any]):
        enabled = serializers.BooleanField()
        recovery_codes_left = serializers.IntegerField()

    @extend_schema(responses=Output)
    def get(self, request: Request) -> Response:
        left = me(request).recovery_codes.filter(used_at=None).count()
        return Response({"enabled": selectors.has_otp(me(request)), "recovery_codes_left": left})


class OtpEnrol(ApiView):
    """Start with an authenticator app: the password, and a code of the present app if there is one."""

    throttle = CODES

    class Input(serializers.Serializer[Any]):
        password = serializers.CharField(**PASSWORD)
        otp = serializers.CharField(max_length=32, required=False, allow_blank=True)

    class Output(serializers.Serializer[Any]):
        uri = serializers.CharField(help_text="For the app, mostly as a QR code.")

    @extend_schema(request=Input, responses=Output)
    def post(self, request: Request) -> Response:
        given = answers(self.Input, request)
        check_password(request._request, email=me(request).email, password=given["password"])
        if selectors.has_otp(me(request)):
            if not given.get("otp"):
                raise OtpRequired
            services.verify_otp(user=me(request), code=given["otp"])
        return Response({"uri": services.enrol_otp(user=me(request)).config_url})


class OtpConfirm(ApiView):
    """Put the app into force with a code of it; the recovery codes are shown this once."""

    throttle = CODES

    class Input(serializers.Serializer[Any]):
        code = serializers.CharField(max_length=32)

    class Output(serializers.Serializer[Any]):
        recovery_codes = serializers.ListField(child=serializers.CharField())

    @extend_schema(request=Input, responses=Output)
    def post(self, request: Request) -> Response:
        _, codes = services.confirm_otp(user=me(request), **answers(self.Input, request))
        return Response({"recovery_codes": codes})


class OtpDisable(ApiView):
    """Do without a second factor from now on."""

    throttle = CODES

    class Input(serializers.Serializer[Any]):
        code = serializers.CharField(max_length=32)

    @extend_schema(request=Input, responses={204: None})
    def post(self, request: Request) -> Response:
        services.disable_otp(user=me(request), **answers(self.Input, request))
        return Response(status=204)


class SocketTicket(ApiView):
    """Get a ticket that opens one socket within 30 seconds: `/ws/v1/?ticket=…`."""

    throttle = Limit("socket-ticket", per_second=1, burst=30)

    class Output(serializers.Serializer[Any]):
        ticket = serializers.CharField()
        expires_in_seconds = serializers.IntegerField()

    @extend_schema(request=None, responses=Output)
    def post(self, request: Request) -> Response:
        if isinstance(request.auth, Claims):
            proof = f"family:{request.auth.family.hex}"
        else:
            proof = f"page:{request.session.session_key}"
        ticket = tickets.issue(user_id=me(request).pk, proof=proof)
        return Response({"ticket": ticket, "expires_in_seconds": tickets.LIFETIME_SECONDS})


class Me(ApiView):
    """The customer himself."""

    class Input(serializers.Serializer[Any]):
        language = serializers.CharField(max_length=10, required=False)
        time_zone = serializers.CharField(max_length=64, required=False)

    @extend_schema(responses=Person)
    def get(self, request: Request) -> Response:
        return Response(person(me(request)))

    @extend_schema(request=Input, responses=Person)
    def patch(self, request: Request) -> Response:
        return Response(person(services.change_profile(user=me(request), **answers(self.Input, request))))


class Time(PublicView):
    """The platform's clock, which alone decides."""

    class Output(serializers.Serializer[Any]):
        now = serializers.DateTimeField()

    @extend_schema(responses=Output)
    def get(self, request: Request) -> Response:
        return Response({"now": clock.now()})
