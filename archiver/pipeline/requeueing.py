"""A fresh URL for an image that has nothing else: it waits for its bytes again, as if it had just come.

When the URL was handed out nobody knows, so one that says nothing is treated as due within the hour, as in a backfill.
An image that has a good copy needs no URL, and is refused one: bytes that were archived are not put at risk.
"""

from datetime import datetime

from archiver.catalogue import Arrival, Catalogue
from archiver.core import policy
from archiver.core.errors import UsageError
from archiver.core.model import Promise
from archiver.core.tempurl import TemporaryURL


def requeue(catalogue: Catalogue, image_id: str, url: TemporaryURL, now: datetime) -> str:
    """Give a lost or missing image a URL. Returns its generation. Raises UsageError when it is not to be had, or needs
    none."""
    evidence = policy.gather_evidence(url, Promise(), now, otherwise=now + policy.UNKNOWN_AGE_LIFETIME)
    deadline, decided = policy.decide_deadline(evidence, now)
    arrival = Arrival(
        id=image_id,
        index=0,
        url=url,
        deadline=deadline,
        deadline_from=decided.source,
        give_up_at=max(policy.gives_up_at(evidence), now + policy.REFUSALS_APART),
        evidence=evidence,
    )
    try:
        was = catalogue.audit_marks.requeue(image_id, arrival, now)
        generation_id, _ = catalogue.images.origin(image_id)
    except KeyError:
        raise UsageError(f"there is no image {image_id!r}; `archiver losses` lists those that were lost") from None
    if was == "confirmed":
        raise UsageError(f"image {image_id} has a confirmed copy: `archiver repair` brings it back from there")
    if was in ("pending", "spooled"):
        raise UsageError(f"image {image_id} is {was}: it is still on its way, and `archiver drain` tries it now")
    if was not in ("lost", "missing"):
        raise UsageError(f"image {image_id} is {was}, and needs no URL")
    return generation_id
