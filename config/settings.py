"""Every switch of the platform, read from the environment; `.env.example` documents each."""

import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import dj_database_url
from celery.schedules import crontab
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from config import env

BASE_DIR = Path(__file__).resolve().parent.parent
ENVIRONMENT = env.text("ENVIRONMENT", "embedded", choices=("embedded", "production"))
PRODUCTION = ENVIRONMENT == "production"
DATA_DIR = env.folder("DATA_DIR", BASE_DIR / ".data")
ROLE = env.text("ROLE", "manage")

# --- Security -----------------------------------------------------------------------------------------
INSECURE_SECRET_KEY = "insecure-embedded-only-secret-key-change-me-before-anybody-depends-on-it"  # noqa: S105
SECRET_KEY = env.text("SECRET_KEY", INSECURE_SECRET_KEY)
DEBUG = env.flag("DEBUG", False)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", () if PRODUCTION else ("127.0.0.1", "localhost", "[::1]"))
WEB_PORT = env.number("WEB_PORT", 8000, 1, 65535)
GATEWAY_PORT = env.number("GATEWAY_PORT", 8001, 1, 65535)
# A folder with one file a secret, as orchestrators mount them; SECRET_<NAME> in the environment goes before.
SECRETS_DIR = env.text("SECRETS_DIR", "")
# Keys that verify receipts besides the one that signs, which is the secret receipt-signing-key.
RECEIPT_PUBLIC_KEYS = env.words("RECEIPT_PUBLIC_KEYS")
PUBLIC_URL = env.text("PUBLIC_URL", f"http://127.0.0.1:{WEB_PORT}")
TRUSTED_PROXIES = env.number("TRUSTED_PROXIES", 0, 0, 8)
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS", (PUBLIC_URL,))
SOCKET_ORIGINS = env.words(
    "SOCKET_ORIGINS",
    (PUBLIC_URL,)
    if PRODUCTION
    else (PUBLIC_URL, f"http://127.0.0.1:{WEB_PORT}", f"http://localhost:{WEB_PORT}"),
)
# Of one gateway process.
SOCKETS_PER_USER = env.number("SOCKETS_PER_USER", 20, 1)
SOCKETS_PER_ADDRESS = env.number("SOCKETS_PER_ADDRESS", 1000, 1)
# Empty: the page opens the socket on its own host, as behind a proxy.
SOCKET_URL = env.text("SOCKET_URL", "" if PRODUCTION else f"ws://127.0.0.1:{GATEWAY_PORT}/ws/v1/")

SECURE_SSL_REDIRECT = env.flag("SECURE_SSL_REDIRECT", PRODUCTION)
SECURE_HSTS_SECONDS = env.number("SECURE_HSTS_SECONDS", 31_536_000 if PRODUCTION else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = PRODUCTION
SECURE_HSTS_PRELOAD = PRODUCTION
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Ports do not separate cookies, so two embedded copies on one host need names of their own.
_COOKIE_PREFIX = "__Host-" if PRODUCTION else f"p{WEB_PORT}-"
SESSION_COOKIE_NAME = f"{_COOKIE_PREFIX}session"
CSRF_COOKIE_NAME = f"{_COOKIE_PREFIX}csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_AGE = 14 * 24 * 3600
OPERATOR_SESSION_AGE = 8 * 3600
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF, *([SOCKET_URL] if SOCKET_URL else []), f"ws://localhost:{GATEWAY_PORT}"]
        if not PRODUCTION
        else [SELF, *([SOCKET_URL] if SOCKET_URL else [])],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}

# --- Applications -------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "config",
    "config.core",
    "kyc",
    "quotes",
    "payments",
    "payments.ledger",
    "trading",
    "tournaments",
    "referrals",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "config.apps.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "axes",
    "django_celery_beat",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.policy.ContentPolicy",
    "config.core.middleware.RequestContext",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ],
        },
    },
]

# --- Storage ------------------------------------------------------------------------------------------
_DATABASE_URL = env.text("DATABASE_URL")
_OWNER_URL = env.text("DATABASE_OWNER_URL", _DATABASE_URL)
DATABASE_DIRECT_URL = env.text("DATABASE_DIRECT_URL", _DATABASE_URL)
# Statements that ask for it stay prepared on their connection, and no other; Django's None would refuse them.
# PgBouncer can follow from 1.21 on, PREPARED_STATEMENTS=0 is for a pooler that cannot.
_PREPARE_AFTER = sys.maxsize if env.flag("PREPARED_STATEMENTS", True) else None


def _database(url: str) -> Any:
    return {
        **dj_database_url.parse(url, conn_max_age=None),
        "OPTIONS": {
            "connect_timeout": 5,
            "application_name": f"tickhouse-{ROLE}",
            "prepare_threshold": _PREPARE_AFTER,
        },
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


# The application owns nothing; migrations, partitions and grants go through the owner.
DATABASES = {"default": _database(_DATABASE_URL), "owner": {**_database(_OWNER_URL), "CONN_MAX_AGE": 0}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.text("REDIS_URL")
REDIS_PREFIX = env.text("REDIS_PREFIX", "tickhouse:")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"{REDIS_PREFIX}cache",
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": f"{REDIS_PREFIX}asgi"},
    }
}

# --- People -------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "kyc.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "kyc.authentication.PasswordBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = reverse_lazy("kyc:sign-in")
LOGIN_REDIRECT_URL = reverse_lazy("trading:terminal")
LOGOUT_REDIRECT_URL = "/"
OTP_TOTP_ISSUER = "Tickhouse"
# Name and address together: nobody is locked out by a stranger.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_USERNAME_FORM_FIELD = "email"
AXES_FAILURE_LIMIT = env.number("SIGN_IN_FAILURE_LIMIT", 5, 1)
AXES_COOLOFF_TIME = "kyc.rules.cool_off"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_USERNAME_CALLABLE = "kyc.rules.locked_name"
AXES_CLIENT_IP_CALLABLE = "config.core.callers.counted_ip"
AXES_HANDLER = "kyc.lockout.Attempts"
# Of a failed attempt nothing typed is kept: a recovery code would be as good as a password.
AXES_SENSITIVE_PARAMETERS = ["username", "email", "ip_address", "code", "csrfmiddlewaretoken", "next"]
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
AXES_ENABLE_ADMIN = False
# Each door answers a lock-out in its own form; the middleware would write over it.
SILENCED_SYSTEM_CHECKS = ["axes.W002"]
PASSWORD_RESET_TIMEOUT = 3600
ACCESS_TOKEN_LIFETIME = timedelta(minutes=15)
REFRESH_TOKEN_LIFETIME = timedelta(days=30)
REFRESH_REUSE_GRACE = timedelta(seconds=10)
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": ACCESS_TOKEN_LIFETIME,
    "REFRESH_TOKEN_LIFETIME": REFRESH_TOKEN_LIFETIME,
    "ALGORITHM": "HS256",
    "UPDATE_LAST_LOGIN": False,
}
EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend"
    if env.text("EMAIL_HOST", "")
    else "django.core.mail.backends.filebased.EmailBackend"
)
EMAIL_HOST = env.text("EMAIL_HOST", "")
EMAIL_PORT = env.number("EMAIL_PORT", 587, 1, 65535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = env.text("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS", True)
EMAIL_FILE_PATH = DATA_DIR / "outgoing-mail"
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "Tickhouse <no-reply@localhost>")

# --- Market -------------------------------------------------------------------------------------------
# Sources that replace the simulated one for the instruments they serve, e.g. "binance".
SOURCES = env.words("SOURCES")
BINANCE_URL = env.text("BINANCE_URL", "wss://data-stream.binance.vision")
# Recordings that instruments with the source "replay" play, and how much faster than life; 0: unbounded.
REPLAY_FOLDER = env.folder("REPLAY_FOLDER", DATA_DIR / "recordings")
REPLAY_SPEED = env.number("REPLAY_SPEED", 1, 0, 1000)
TICK_RETENTION_DAYS = env.number("TICK_RETENTION_DAYS", 30, 1)

# Where closed days go: a folder, or s3://bucket/prefix (S3_ENDPOINT_URL: another than Amazon's), whose keys
# are the secrets archive-key-id and archive-key.
ARCHIVE_URL = env.text("ARCHIVE_URL", str(DATA_DIR / "archive"))
S3_ENDPOINT_URL = env.text("S3_ENDPOINT_URL", "")

# --- Faces --------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "kyc.authentication.TokenAuthentication",
        "kyc.authentication.PageSession",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["config.core.formats.JsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.core.formats.JsonParser"],
    "DEFAULT_SCHEMA_CLASS": "config.openapi.Schema",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "config.core.formats.JsonOnly",
    "EXCEPTION_HANDLER": "config.core.http.problem_response",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tickhouse API",
    "DESCRIPTION": "Money and prices are decimal strings; instants are ISO 8601 UTC with microseconds.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.openapi.add_problems",
    ],
}
STATIC_URL = "static/"
STATIC_ROOT = env.folder("STATIC_ROOT", BASE_DIR / "staticfiles")
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = not PRODUCTION
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
FORMAT_MODULE_PATH = ["config.formats"]
USE_TZ = True
TIME_ZONE = "UTC"
UNFOLD = {
    "SITE_TITLE": "Tickhouse",
    "SITE_HEADER": "Tickhouse",
    "SITE_SYMBOL": "candlestick_chart",
    "STYLES": ["/static/console/console.css"],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/static/house/mark.svg"}],
    "DASHBOARD_CALLBACK": "config.dashboard.context",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "COLORS": {
        "primary": {
            "50": "#ecfaf4",
            "100": "#d3f3e5",
            "200": "#a9e6cd",
            "300": "#70d3ad",
            "400": "#3abb8b",
            "500": "#1aa073",
            "600": "#088259",
            "700": "#066e4b",
            "800": "#07573d",
            "900": "#074833",
            "950": "#03281d",
        }
    },
}

# --- Work in the background ---------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": REDIS_PREFIX, "visibility_timeout": 3600}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
# No time limit: a pool of threads cannot end a task. What must not be silent has its age measured.
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = {
    "settlement sweep": {"task": "trading.sweep_orders", "schedule": 10.0, "options": {"expires": 10}},
    "payout recalculation": {
        "task": "trading.recalculate_payouts",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "anti-sniping": {"task": "trading.delay_sniped_entries", "schedule": 60.0, "options": {"expires": 60}},
    "volatility": {"task": "trading.estimate_volatility", "schedule": 30.0, "options": {"expires": 30}},
    "refusal retention": {"task": "trading.trim_refusals", "schedule": crontab(hour=4, minute=20)},
    "ledger snapshots": {"task": "ledger.take_snapshots", "schedule": 60.0, "options": {"expires": 60}},
    "ledger check": {"task": "ledger.check_changed", "schedule": 60.0, "options": {"expires": 60}},
    "ledger check, whole": {"task": "ledger.check_all", "schedule": crontab(hour=3, minute=30)},
    "tick partitions and cleanup": {"task": "quotes.maintain_ticks", "schedule": 3600.0},
    "seeds of simulations": {"task": "quotes.reveal_seeds", "schedule": 60.0, "options": {"expires": 60}},
    "candle check": {"task": "quotes.verify_candles", "schedule": crontab(hour=2, minute=30)},
    "outbox retention": {"task": "core.trim_facts", "schedule": 3600.0},
    "refresh token retention": {"task": "kyc.trim_refresh_tokens", "schedule": crontab(hour=4, minute=0)},
    "page session retention": {"task": "kyc.trim_sessions", "schedule": crontab(hour=4, minute=10)},
}
METRICS_PORT = env.number("METRICS_PORT", 0, 0, 65535)
METRICS_HOST = env.text("METRICS_HOST", "127.0.0.1")

# --- Logs ---------------------------------------------------------------------------------------------
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False  # it would believe any header; config.core binds the address
DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = logging.INFO
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG  # one line a request, at its end
LOG_LEVEL = env.text("LOG_LEVEL", "INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
LOG_FORMAT = env.text("LOG_FORMAT", "json" if PRODUCTION else "console", choices=("json", "console"))

if PRODUCTION and (SECRET_KEY == INSECURE_SECRET_KEY or len(SECRET_KEY) < 50):
    raise ImproperlyConfigured("SECRET_KEY is the embedded default or shorter than 50 characters.")
if PRODUCTION and DEBUG:
    raise ImproperlyConfigured("DEBUG shows everything to everybody; production does not start with it.")

from config.core.logs import logging_config  # noqa: E402

LOGGING = logging_config(level=LOG_LEVEL, style=LOG_FORMAT, role=ROLE)
