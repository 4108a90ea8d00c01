"""What a repair needs: a missing image may wait for a fresh URL again."""

from typing import Any

from archiver.catalogue.migrations.first import refuse

_MOVES_OF_IMAGES = (
    "pending>spooled",
    "pending>stored",
    "pending>lost",
    "pending>forgotten",
    "spooled>stored",
    "spooled>pending",
    "spooled>forgotten",
    "lost>pending",
    "lost>forgotten",
    "stored>missing",
    "stored>forgotten",
    "missing>pending",
    "missing>spooled",
    "missing>stored",
    "missing>forgotten",
)


def m010_audit(db: Any) -> None:
    """One more move of an image: missing, and requeued with a fresh URL. And an index for the question when the
    catalogue was last restored: every process asks it when it begins."""
    db.execute("drop trigger image_moves")
    db.execute(refuse("images", "image", _MOVES_OF_IMAGES, ())[0])
    db.execute("create index events_restored on events (at) where kind = 'restored'")
