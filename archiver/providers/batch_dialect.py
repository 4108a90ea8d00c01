"""What a dialect of batches has to say: where to ask, with what, and what the answers mean.

`batch` asks, and judges what went wrong; a dialect is pure, and knows neither a key nor the network.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from archiver.core.batching import BatchLine, BatchState
from archiver.core.errors import Corrupt
from archiver.core.model import Answer, Ask, Completed, Json
from archiver.providers.account import bearer, is_large


@dataclass(frozen=True, slots=True)
class Said:
    """A request: its path, body, and headers besides those of every request that is JSON."""

    path: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str]


class Dialect(ABC):
    """One provider's way of batches. `most_at_once` is how many requests go into one unless settings say otherwise
    (`most_at_once_large`: for the largest images), `most_allowed` how many are taken at all."""

    most_at_once: int
    most_at_once_large: int
    most_allowed: int = 10_000
    most_bytes: int
    listing: str

    def authorise(self, key: str) -> Mapping[str, str]:
        """How the key is told."""
        return bearer(key)

    def is_large(self, size: str | None) -> bool:
        """Whether images of this size are the largest ones."""
        return is_large(size)

    @abstractmethod
    def line(self, ask: Ask, parameters: Mapping[str, Json]) -> Json:
        """One request; `parameters` are those of the section. Raises Permanent."""

    @abstractmethod
    def upload(self, batch_id: str, lines: bytes) -> Said:
        """How the file is handed over."""

    @abstractmethod
    def uploaded(self, document: Mapping[str, object]) -> str:
        """What it is called. Raises Corrupt."""

    @abstractmethod
    def create(self, batch_id: str, uploaded: str, model: str) -> Said:
        """How the batch is ordered."""

    @abstractmethod
    def handle(self, document: Mapping[str, object]) -> str:
        """What it is asked for by. Raises Corrupt."""

    @abstractmethod
    def found(self, document: Mapping[str, object], batch_id: str) -> str | None:
        """The handle of our batch among those listed."""

    @abstractmethod
    def status_path(self, handle: str) -> str:
        """Where it is told how a batch stands."""

    @abstractmethod
    def state(self, document: Mapping[str, object]) -> BatchState:
        """How it stands."""

    @abstractmethod
    def file_path(self, file: str) -> str:
        """Where a file of output is fetched."""

    @abstractmethod
    def tell(self, line: Mapping[str, object]) -> BatchLine:
        """Whose a line is. Raises Corrupt."""

    @abstractmethod
    def read(self, line: Mapping[str, object], answer: Answer) -> Completed:
        """What a line says. Raises Permanent or Corrupt."""


def name_in(document: Mapping[str, object], name: str) -> str:
    """A name that can be asked for. Raises Corrupt when there is none."""
    value = document.get(name)
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not 0 < len(value) <= 500:
        raise Corrupt(f"the answer has no {name}")
    return value


def time_in(value: object) -> datetime | None:
    """A time as Google writes it, None when it is none."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment and moment.tzinfo else None
