from django.db import migrations

from layoverhq.migrations import InstallSQL


class Migration(migrations.Migration):
    dependencies = [("flights", "0005_layover_places")]
    operations = [
        InstallSQL("flights", "slice_offers", digest="91568599de8bf7c7"),
        InstallSQL("flights", "price_calendar", digest="c868c96d51740dd1"),
        InstallSQL("flights", "search_layovers", digest="a164a91e854fc7c6"),
        InstallSQL("flights", "partition_sizes", digest="d648e677eb08796f"),
    ]
