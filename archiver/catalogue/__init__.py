"""The catalogue: every job, tick, generation, image, copy and event, in one SQLite file.

The only room where SQL is spoken. A public method is one transaction; a transition is one guarded UPDATE that names its
state and its claim, and changes 0 rows when either has moved on. It decides nothing (that is `core.policy`), and no
transaction is open while anybody talks to the network.
"""

from pathlib import Path

from archiver.catalogue.claiming import Resting
from archiver.catalogue.database import Database, as_text, as_time
from archiver.catalogue.fitness import Fitness, Wanted
from archiver.catalogue.generations import Generations
from archiver.catalogue.images import Images
from archiver.catalogue.outcomes import Outcomes
from archiver.catalogue.owners import Owner, SoleDaemon
from archiver.catalogue.reports import Reports
from archiver.catalogue.rows import Arrival, Draft, Settlement, Submission
from archiver.catalogue.watching import Watching
from archiver.core.errors import Unusable

__all__ = [
    "Arrival",
    "Catalogue",
    "Draft",
    "Owner",
    "Resting",
    "Settlement",
    "SoleDaemon",
    "Submission",
    "Wanted",
    "as_text",
    "as_time",
]

FILE_NAME = "catalogue.db"


class Catalogue:
    """An open catalogue: `generations` (asking), `outcomes` (what came of it, and its cost), `images` (keeping),
    `reports` (read-only questions) and `watching` (alerts)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.generations = Generations(database)
        self.outcomes = Outcomes(database)
        self.images = Images(database)
        self.fitness = Fitness(database)
        self.reports = Reports(database)
        self.watching = Watching(database)

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

    def scrub(self) -> None:
        """Remove what erased URLs left in their pages and in the write-ahead log."""
        self.images.rewrite_urls()
        self._database.truncate_wal()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()
