"""The catalogue: every job, tick, generation, image, copy and event, in one SQLite file.

The only room where SQL is spoken. A public method is one transaction; a transition is one guarded UPDATE that names its
state and its claim, and changes 0 rows when either has moved on. It decides nothing (that is `core.policy`), and no
transaction is open while anybody talks to the network.
"""

from datetime import UTC, datetime
from pathlib import Path

from archiver.catalogue.awaiting import Awaiting, Dead
from archiver.catalogue.batch_reports import BatchReports, BatchRow
from archiver.catalogue.batches import Batches
from archiver.catalogue.claiming import Resting
from archiver.catalogue.costs import Costs
from archiver.catalogue.database import Database, as_text, as_time
from archiver.catalogue.descent import Descent
from archiver.catalogue.fitness import Fitness, Wanted
from archiver.catalogue.generations import Generations
from archiver.catalogue.images import Images
from archiver.catalogue.keys import Keys
from archiver.catalogue.listings import Filter, Listings
from archiver.catalogue.materials import Materials
from archiver.catalogue.outcomes import Outcomes
from archiver.catalogue.owners import Owner, SoleDaemon
from archiver.catalogue.providers import Providers
from archiver.catalogue.rebuilding import Rebuilding, Told
from archiver.catalogue.records import Records
from archiver.catalogue.reports import Reports
from archiver.catalogue.reusing import Reusing
from archiver.catalogue.rows import Arrival, Draft, InputRow, Settlement, Submission
from archiver.catalogue.statistics import Statistics
from archiver.catalogue.ticks import Ticks
from archiver.catalogue.watching import Watching
from archiver.core.errors import Unusable

__all__ = [
    "Arrival",
    "Awaiting",
    "BatchRow",
    "Catalogue",
    "Dead",
    "Draft",
    "Filter",
    "InputRow",
    "Owner",
    "Resting",
    "Settlement",
    "SoleDaemon",
    "Submission",
    "Told",
    "Wanted",
    "as_text",
    "as_time",
]

FILE_NAME = "catalogue.db"


class Catalogue:
    """An open catalogue: `ticks` (planning), `generations` (asking), `batches` and `batch_reports` (asking for many at
    once), `materials` (what goes into a request), `outcomes` (what came of it), `costs` (what was spent), `reusing`
    (what need not be paid twice), `images` (keeping), `reports`, `listings`, `descent` and `statistics` (read-only
    questions) and `watching` (alerts), `keys` and `providers` (how it goes with them)."""

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
        self.fitness = Fitness(database)
        self.reports = Reports(database)
        self.listings = Listings(database)
        self.descent = Descent(database)
        self.statistics = Statistics(database)
        self.watching = Watching(database)
        self.keys = Keys(database)
        self.providers = Providers(database)
        self.records = Records(database)
        self.rebuilding = Rebuilding(database)

    @classmethod
    def open(cls, data_dir: Path, *, create: bool) -> "Catalogue":
        """Open the catalogue of `data_dir`, bringing its schema up to date.

        Raises `Unusable` when it is foreign, damaged, newer than this code or, without `create`, not there.
        """
        path = data_dir / FILE_NAME
        database = Database(path)
        if create:
            database.create_file()
        elif not path.exists():
            raise Unusable(
                f"there is no catalogue at {path} yet; `archiver run --once` or `archiver generate` makes it"
            )
        try:
            database.migrate()
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
        """When this catalogue was made, by the clock of the machine: what is older on the disk, it never knew."""
        made = self._database.rows("select min(applied_at) as at from _sqlite_migrations")[0]["at"]
        return datetime.fromisoformat(str(made)).astimezone(UTC)

    def scrub(self) -> None:
        """Remove what erased URLs left in their pages and in the write-ahead log."""
        self.images.rewrite_urls()
        self._database.truncate_wal()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()
