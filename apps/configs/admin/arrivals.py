"""Keys of the guide whose reader has not arrived yet, and which feature brings it."""

from __future__ import annotations

AWAITED = {
    "api.rate_limit.default": "the API's rate limit",
    "features.experimental_ml": "learned ranking of the search",
}
