from django.urls import path

from apps.flags.api import track

urlpatterns = [
    path("events/track", track.TrackView.as_view(), name="api-events-track"),
]
