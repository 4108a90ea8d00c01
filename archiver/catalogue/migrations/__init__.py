"""The history of the schema: append only, and importing nothing of archiver outside this folder.

A released migration is never edited: a catalogue in the field has run it as it stands. Views are not migrated: they
are made anew from `views.sql` whenever a catalogue is opened by a version that has other ones.
"""

from sqlite_utils import Migrations

from archiver.catalogue.migrations import auditing, counting, covering, first, forgetting, later

migrations = Migrations("archiver")
for step in (
    first.m001_first,
    later.m002_budgets,
    later.m003_source_host,
    later.m004_alerts,
    later.m005_urls,
    later.m006_requests,
    later.m007_listings,
    counting.m008_counters,
    forgetting.m009_forgetting,
    auditing.m010_audit,
    covering.m011_covering,
):
    migrations()(step)

__all__ = ["migrations"]
