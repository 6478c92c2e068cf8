"""Django settings; every value that differs between machines comes from the environment."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from django.urls import reverse_lazy

from layoverhq import environment
from layoverhq.logs import logging_configuration

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(environment.read("VAR_DIR") or BASE_DIR / "var")

ENVIRONMENT = environment.read("ENVIRONMENT") or "development"
PRODUCTION = ENVIRONMENT == "production"
DEBUG = environment.flag("DEBUG", False)

# Without a key the deploy check says so; on a developer's machine each process may make its own.
SECRET_KEY = environment.read("SECRET_KEY") or ("" if PRODUCTION else secrets.token_urlsafe(50))
ENCRYPTION_KEYS = environment.words("ENCRYPTION_KEYS", [])

ALLOWED_HOSTS = environment.words(
    "ALLOWED_HOSTS", [] if PRODUCTION else ["localhost", "127.0.0.1", "[::1]"]
)
CSRF_TRUSTED_ORIGINS = environment.words("CSRF_TRUSTED_ORIGINS", [])
# Where `web` sends those who ask it for events; empty where a proxy routes them to `stream`.
STREAM_URL = environment.base_url("STREAM_URL") if environment.read("STREAM_URL") else ""
# How many proxies of ours stand in front and append to X-Forwarded-For.
PROXY_COUNT = environment.integer("PROXY_COUNT", 0, 0, 10)

SHARED_APPS = [
    "layoverhq.apps.KernelConfig",
    "django_tenants",
    "apps.audit",
    "apps.tenants",
    "apps.configs",
    "apps.flags",
    "apps.webhooks",
    "apps.flights",
    "apps.layovers",
    "apps.trips",
    "apps.storefront",
    "unfold.apps.BasicAppConfig",
    "layoverhq.apps.LayoverAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
# What identifies travellers lives in `public` for pooled enterprises and in an own schema,
# which shadows it, for dedicated ones.
TENANT_APPS = ["apps.trips"]
INSTALLED_APPS = SHARED_APPS + [app for app in TENANT_APPS if app not in SHARED_APPS]
MIGRATION_MODULES = {"layoverhq": "layoverhq.schema"}

TENANT_MODEL = "tenants.Enterprise"
TENANT_DOMAIN_MODEL = "tenants.Domain"
TENANT_DB_ALIAS = "owner"
GET_EXECUTOR_FUNCTION = "layoverhq.migrate_schemas.get_executor"
DATABASE_ROUTERS = ["layoverhq.tenancy.RoleRouter", "django_tenants.routers.TenantSyncRouter"]
AUTH_USER_MODEL = "tenants.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _database(variable: str, **extra: Any) -> dict[str, Any]:
    """Return an entry of DATABASES; a missing URL is reported when it is first used."""
    if environment.read(variable) is None and not PRODUCTION:
        entry: dict[str, Any] = {"ENGINE": "layoverhq.postgres", "NAME": ""}
    else:
        entry = environment.postgres_settings(variable)
    return {**entry, **extra, "VARIABLE": variable}


DATABASES = {
    # A scope is a transaction, so a thread's connection carries nothing from one to the next
    # and may be kept; a connection that died meanwhile is replaced when a scope begins.
    "default": _database("DATABASE_URL", CONN_MAX_AGE=None),
    "operator": _database("OPERATOR_DATABASE_URL", CONN_MAX_AGE=None),
    "owner": _database("OWNER_DATABASE_URL", CONN_MAX_AGE=0),
}
if pool_size := environment.integer("DATABASE_POOL_SIZE", 0, 0, 1000):
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
        "min_size": 1,
        "max_size": pool_size,
        "timeout": 10,
    }

REDIS_URL = environment.redis_url("REDIS_URL") if environment.read("REDIS_URL") else ""
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 1, "SOCKET_TIMEOUT": 1},
    }
}

MIDDLEWARE = [
    "layoverhq.middleware.RequestContextMiddleware",
    "apps.storefront.middleware.StorefrontMiddleware",
    "layoverhq.middleware.FaultMiddleware",
    "apps.flags.middleware.ApiGoalMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "layoverhq.middleware.OperatorMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "layoverhq.admin.sessions.IdleSessionMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "layoverhq.urls"
WSGI_APPLICATION = "layoverhq.wsgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Emails are unique among the living, which OperatorBackend and the constraint see to.
SILENCED_SYSTEM_CHECKS = ["auth.W004"]
AUTHENTICATION_BACKENDS = ["apps.tenants.backends.OperatorBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
FORMAT_MODULE_PATH = "layoverhq.formats"

STATIC_URL = "static/"
# Elsewhere the files are served from where the packages keep them.
STATIC_ROOT = VAR_DIR / "static" if PRODUCTION else None
WHITENOISE_USE_FINDERS = not PRODUCTION
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(VAR_DIR / "files"), "file_permissions_mode": 0o600},
    },
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# Where the European Central Bank's euro reference rates are fetched.
ECB_URL = (environment.read("ECB_URL") or "https://www.ecb.europa.eu/stats/eurofxref").rstrip("/")

# An API request has no business being larger; imports stream and have limits of their own.
API_BODY_LIMIT_BYTES = 1_048_576
IMPORT_BODY_LIMIT_BYTES = environment.integer(
    "IMPORT_BODY_LIMIT_BYTES", 256 * 1_048_576, API_BODY_LIMIT_BYTES, 2**40
)
# Routes whose bodies go to a file while they arrive.
API_BODY_LIMITS = {"/api/v1/flights/import": IMPORT_BODY_LIMIT_BYTES}
# A gzip of 256 MB can unpack to 256 GB.
IMPORT_UNPACKED_LIMIT_BYTES = 8 * IMPORT_BODY_LIMIT_BYTES
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * API_BODY_LIMIT_BYTES

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_NAME = "layoverhq_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
# security.session_timeout decides; this is the longest that it may say.
SESSION_COOKIE_AGE = 86_400
CSRF_COOKIE_HTTPONLY = True
if PRODUCTION:
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz)$"]
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if PROXY_COUNT else None
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.tenants.api.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["apps.tenants.api.authentication.HasRequiredScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "layoverhq.negotiation.JSONNegotiation",
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "layoverhq.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "LayoverHQ API",
    "DESCRIPTION": "Search flight offers by their layovers.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "ImportStatus": "apps.flights.models.OfferImport.Status",
        "TripStatus": "apps.trips.models.Trip.Status",
        "WebhookStatus": "apps.webhooks.models.WebhookEndpoint.Status",
        "SettableWebhookStatus": "apps.webhooks.api.serializers.SETTABLE",
        "DeliveryStatus": "apps.webhooks.models.WebhookDelivery.Status",
        "WebhookEvent": "apps.webhooks.models.Event",
    },
}

CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A publisher that cannot reach the broker says so instead of waiting for ever.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "visibility_timeout": 3600}
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 2, "interval_start": 0.1, "interval_max": 0.5}
CELERY_TASK_IGNORE_RESULT = True
# Without results there are none to clean up, and no schedule for it.
CELERY_RESULT_EXPIRES = None
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULER = "layoverhq.beat:OperatorScheduler"
CELERY_TIMEZONE = "UTC"
# What the admin shows of a schedule's last run is written with the run, not minutes later.
CELERY_BEAT_SYNC_EVERY = 1

LOGGING = logging_configuration(json=PRODUCTION, level=environment.read("LOG_LEVEL") or "INFO")
LOGGING_CONFIG = "layoverhq.logs.configure"

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "LayoverHQ",
    "SITE_HEADER": "LayoverHQ",
    "SITE_SUBHEADER": "Operations",
    "SITE_SYMBOL": "connecting_airports",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": "layoverhq.admin_site.favicon",
        }
    ],
    "SITE_URL": None,
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "layoverhq.admin_site.environment_badge",
    "DASHBOARD_CALLBACK": "layoverhq.admin.dashboard.dashboard",
    "LOGIN": {"form": "layoverhq.admin_login.LoginForm"},
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": "layoverhq.admin.navigation.navigation",
    },
}
