from django.db import migrations

from layoverhq.migrations import InstallSQL


class Migration(migrations.Migration):
    dependencies = [("flights", "0008_search")]
    operations = [
        InstallSQL("flights", "slice_offers", digest="77727d8976022ceb"),
        InstallSQL("flights", "price_calendar", digest="4ecf68babb61b591"),
        InstallSQL("flights", "search_layovers", digest="f962a9c214cfb026"),
        InstallSQL("flights", "partition_sizes", digest="d648e677eb08796f"),
    ]
