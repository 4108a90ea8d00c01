"""The tree of errors, with the exit code of the command line on each class.

Adapters speak four words: `Transient` (ask again), `Throttled` (ask again later), `Permanent` (never), `Ambiguous` (it
may have happened: asking again may pay twice). Fetching adds `Gone` and `Corrupt`. Policy reads only these words.
This file refuses to know HTTP statuses, SDK exceptions or SQLite: the room that met them translates.

    ArchiverError              1   something failed, the rest went on
    ├── UsageError             2   the command or the configuration is wrong
    │   └── ConfigurationError 2   ... at this key of this file
    ├── Unusable               3   the machine, the catalogue or a store is not fit for work
    └── AdapterError           1   one call to the outside failed
        ├── Transient  ├── Throttled  ├── Ambiguous  ├── Gone
        ├── Corrupt
        │   └── NotAnImage         a whole document in place of the image
        └── Permanent
            ├── Refused            we refuse: the address guard, or a size cap
            └── KeyTaken           the key already holds other bytes
"""

from collections.abc import Mapping
from types import MappingProxyType


class ArchiverError(Exception):
    """Anything archiver says on purpose. The message is for the user and holds no secret."""

    exit_code = 1


class UsageError(ArchiverError):
    """The request itself is wrong: nothing was done."""

    exit_code = 2


class ConfigurationError(UsageError):
    """The configuration is wrong. `key` is the dotted path of the setting, empty when it is the file as a whole."""

    def __init__(self, message: str, key: str = "") -> None:
        self.key = key
        super().__init__(f"{key}: {message}" if key else message)


class Unusable(ArchiverError):
    """Disk, catalogue, lock or store cannot be used as they are: nothing was spent."""

    exit_code = 3


class AdapterError(ArchiverError):
    """A call to a provider, a source or a store did not succeed. The class says what may be done about it.

    `headers` (names in lower case) are those of a source's reply that say something of the object's lifetime.
    `request_id` is what a provider that replied calls the request; None when it did not reply, or does not say.
    """

    headers: Mapping[str, str] = MappingProxyType({})
    request_id: str | None = None

    @property
    def word(self) -> str:
        """The error word that policy reads and the catalogue stores, for example `transient`."""
        return type(self).__name__.lower()


class Transient(AdapterError):
    """It did not happen, and asking again may work."""


class Throttled(AdapterError):
    """It did not happen; the other side wants a pause of `retry_after` seconds (None: it named none)."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class Permanent(AdapterError):
    """It did not happen, and asking the same again will not help until somebody changes something."""


class Ambiguous(AdapterError):
    """It may have happened: asking again may pay twice."""


class Gone(AdapterError):
    """The source says no: expired, deleted or denied. One such answer never means that the image is lost."""


class Corrupt(AdapterError):
    """Bytes came, but they are not a whole image: cut short, a web page, a wrong digest."""


class NotAnImage(Corrupt):
    """A whole web page, XML or JSON document came in place of the image: many hosts say "expired" that way."""


class Refused(Permanent):
    """We refused by our own rules: a private address, a downgrade to http, too many redirects, too many bytes."""


class KeyTaken(Permanent):
    """The key exists and holds other bytes: it is never overwritten."""
