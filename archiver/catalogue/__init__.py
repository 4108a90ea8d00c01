"""The catalogue: every job, tick, generation, image, copy and event, in one SQLite file.

The only room where SQL is spoken. A public method is one transaction; a transition is one guarded UPDATE that names its
state and its claim, and changes 0 rows when either has moved on. It decides nothing (that is `core.policy`), and no
transaction is open while anybody talks to the network.
"""

from datetime import UTC, datetime
from pathlib import Path

from archiver.catalogue.audit import Audit
from archiver.catalogue.audit_marks import AuditMarks
from archiver.catalogue.awaiting import Awaiting, Dead
from archiver.catalogue.backfilling import Backfilling, Speed, Standing
from archiver.catalogue.batch_reports import BatchReports, BatchRow
from archiver.catalogue.batches import Batches
from archiver.catalogue.claiming import Resting
from archiver.catalogue.costs import Costs
from archiver.catalogue.counters import Counters, Difference
from archiver.catalogue.database import Database, as_text, as_time
from archiver.catalogue.descent import Descent
from archiver.catalogue.erasing import NO_DIGEST
from archiver.catalogue.exports import Exports
from archiver.catalogue.fitness import Fitness, Wanted
from archiver.catalogue.forgetting import Forgetting, Target
from archiver.catalogue.generations import Generations
from archiver.catalogue.images import Images
from archiver.catalogue.keys import Keys
from archiver.catalogue.listings import Filter, Listings
from archiver.catalogue.materials import Materials
from archiver.catalogue.outcomes import Outcomes
from archiver.catalogue.owners import Owner, SoleDaemon, anyone_lives
from archiver.catalogue.providers import Providers
from archiver.catalogue.pruning import Pruning
from archiver.catalogue.rebuilding import Rebuilding, Told
from archiver.catalogue.records import Records
from archiver.catalogue.reports import Reports
from archiver.catalogue.restoring import Restoring
from archiver.catalogue.reusing import Reusing
from archiver.catalogue.reviving import Reviving
from archiver.catalogue.rows import Arrival, Draft, InputRow, Settlement, Submission
from archiver.catalogue.schema import migrate
from archiver.catalogue.snapshots import Counts, Snapshots, schema_of
from archiver.catalogue.statistics import Statistics
from archiver.catalogue.ticks import Ticks
from archiver.catalogue.watching import Watching
from archiver.core.errors import Unusable

__all__ = [
    "NO_DIGEST",
    "Arrival",
    "Awaiting",
    "BatchRow",
    "Catalogue",
    "Counts",
    "Dead",
    "Difference",
    "Draft",
    "Filter",
    "InputRow",
    "Owner",
    "Resting",
    "Settlement",
    "SoleDaemon",
    "Speed",
    "Standing",
    "Submission",
    "Target",
    "Told",
    "Wanted",
    "anyone_lives",
    "as_text",
    "as_time",
]

FILE_NAME = "catalogue.db"


class Catalogue:
    """An open catalogue: `ticks` (planning), `generations` (asking), `batches` and `batch_reports` (asking for many at
    once), `materials` (what goes into a request), `outcomes` (what came of it), `costs` (what was spent), `reusing`
    (what need not be paid twice), `images` (keeping), `reports`, `listings`, `exports`, `descent` and `statistics`
    (read-only questions), `counters` (what need not be counted), `watching` (alerts), `keys` and `providers` (how it
    goes with them)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.ticks = Ticks(database)
        self.generations = Generations(database)
        self.awaiting = Awaiting(database)
        self.batches = Batches(database)
        self.batch_reports = BatchReports(database)
        self.materials = Materials(database)
        self.outcomes = Outcomes(database)
        self.costs = Costs(database)
        self.reusing = Reusing(database)
        self.images = Images(database)
        self.backfilling = Backfilling(database)
        self.fitness = Fitness(database)
        self.reports = Reports(database)
        self.counters = Counters(database)
        self.listings = Listings(database)
        self.exports = Exports(database)
        self.descent = Descent(database)
        self.statistics = Statistics(database)
        self.watching = Watching(database)
        self.keys = Keys(database)
        self.providers = Providers(database)
        self.records = Records(database)
        self.rebuilding = Rebuilding(database)
        self.audit = Audit(database)
        self.audit_marks = AuditMarks(database)
        self.forgetting = Forgetting(database)
        self.pruning = Pruning(database)
        self.snapshots = Snapshots(database)
        self.restoring = Restoring(database)
        self.reviving = Reviving(database)

    @classmethod
    def open(cls, data_dir: Path, *, create: bool) -> "Catalogue":
        """Open the catalogue of `data_dir`, bringing its schema up to date.

        Raises `Unusable` when it is foreign, damaged, newer than this code or, without `create`, not there.
        """
        path = data_dir / FILE_NAME
        if create:
            Database(path).create_file()
        cls._expect(path)
        return cls.open_file(path)

    @classmethod
    def schema_of(cls, data_dir: Path) -> tuple[str, tuple[str, ...]]:
        """The newest migration of the catalogue of `data_dir`, and those that wait for `open`. Refuses as `open` does,
        and migrates nothing."""
        cls._expect(data_dir / FILE_NAME)
        return schema_of(data_dir / FILE_NAME)

    @staticmethod
    def _expect(path: Path) -> None:
        if path.is_dir():
            raise Unusable(f"{path} is a folder, and no catalogue: move it away")
        if not path.exists():
            raise Unusable(
                f"there is no catalogue at {path} yet; `archiver run --once` or `archiver generate` makes it"
            )
        if path.is_file() and not path.stat().st_size:
            raise Unusable(
                f"the catalogue {path} is empty: remove it if none was ever made here; else `archiver restore` or"
                " `archiver rebuild` makes another"
            )

    @classmethod
    def open_file(cls, path: Path) -> "Catalogue":
        """Open a catalogue whatever its name is, as `open` does: a snapshot, before it takes its place."""
        database = Database(path)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    @property
    def born(self) -> datetime:
        """When this catalogue was made or restored, by the clock of the machine: what is older on the disk, it may
        never have known."""
        made = self._database.rows("select min(applied_at) as at from _sqlite_migrations")[0]["at"]
        restored = self.restoring.last()
        return max(datetime.fromisoformat(str(made)).astimezone(UTC), restored or datetime.min.replace(tzinfo=UTC))

    def scrub(self) -> None:
        """Remove what erased URLs left in their pages and in the write-ahead log."""
        self.images.rewrite_urls()
        self._database.truncate_wal()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()
