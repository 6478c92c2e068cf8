from django.urls import path, register_converter
from django.urls.converters import StringConverter

from apps.flags.api.ofrep import views


class AnyTextConverter(StringConverter):
    """Whatever stands in the path, nothing too: what is no flag's name is not found as a flag."""

    regex = r"[\s\S]*"


register_converter(AnyTextConverter, "any_text")

urlpatterns = [
    path("evaluate/flags", views.FlagsView.as_view(), name="ofrep-flags"),
    path("evaluate/flags/<any_text:key>", views.FlagView.as_view(), name="ofrep-flag"),
]
