"""What the lifecycle rules of a bucket would do to an archive in it: S3's and OSS's own words as `BucketRule`.

Only what happens to whole, current objects counts: rules that are switched off, old versions, delete markers and
unfinished uploads are passed over. Pure; it asks nobody, and refuses to judge whether a rule is meant.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, TypeVar

from archiver.core.bucket_rules import BucketRule
from archiver.core.errors import Permanent

Rule = TypeVar("Rule")

#: Classes of storage that give no bytes before somebody has them restored.
_S3_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_OSS_ARCHIVES = frozenset({"Archive", "ColdArchive", "DeepColdArchive"})


def some(name: str, rules: Sequence[Rule]) -> Sequence[Rule]:
    """`rules`, of which a bucket that has rules has at least one. Raises `Permanent` when there is none: a lesser
    server answers with something else, for example with a listing, which does not say that there are no rules."""
    if not rules:
        raise Permanent(f"{name}: lifecycle: the server answered something else than rules")
    return rules


def touching(prefix: str, rules: Iterable[BucketRule]) -> tuple[BucketRule, ...]:
    """The rules that may act on a key below `prefix`."""
    return tuple(rule for rule in rules if rule.prefix.startswith(prefix) or prefix.startswith(rule.prefix))


def s3_rules(rules: Iterable[Mapping[str, Any]]) -> Iterator[BucketRule]:
    """The rules of a reply to GetBucketLifecycleConfiguration, as boto3 reads it."""
    for rule in rules:
        if rule.get("Status") != "Enabled":
            continue
        chosen = rule.get("Filter") or {}
        chosen = chosen.get("And") or chosen
        named: dict[str, Any] = {
            "name": str(rule.get("ID", "")),
            "prefix": str(chosen.get("Prefix") or rule.get("Prefix") or ""),
            "narrowed": any(key != "Prefix" for key in chosen),
        }
        expiration = rule.get("Expiration") or {}
        if "Days" in expiration or "Date" in expiration:
            yield _rule(named, "delete", expiration.get("Days"), expiration.get("Date"))
        for move in rule.get("Transitions") or ():
            if move.get("StorageClass") in _S3_ARCHIVES:
                yield _rule(named, "move", move.get("Days"), move.get("Date"))


def oss_rules(rules: Iterable[Any]) -> Iterator[BucketRule]:
    """The rules of a reply to GetBucketLifecycle, as oss2 reads it."""
    for rule in rules:
        if rule.status != "Enabled":
            continue
        chosen = rule.filter
        sizes = chosen and (chosen.object_size_greater_than, chosen.object_size_less_than)
        is_narrowed = bool(rule.tagging or (chosen and chosen.filter_not) or (sizes and any(sizes)))
        named: dict[str, Any] = {"name": rule.id or "", "prefix": rule.prefix or "", "narrowed": is_narrowed}
        gone = rule.expiration
        if gone and (gone.days is not None or gone.date or gone.created_before_date):
            yield _rule(named, "delete", gone.days, gone.date or gone.created_before_date)
        for move in rule.storage_transitions or ():
            if move.storage_class in _OSS_ARCHIVES:
                # Days since an object was last read are not days since it was written: it acts on less than it says.
                less = {"narrowed": is_narrowed or bool(move.is_access_time)}
                yield _rule(named | less, "move", move.days, move.created_before_date)


def _rule(named: Mapping[str, Any], action: Any, days: int | None, day: date | None) -> BucketRule:
    """`day` may be a moment, with or without a zone; rules speak UTC."""
    if day is not None and not isinstance(day, datetime):
        day = datetime.combine(day, time())
    on = day.replace(tzinfo=UTC) if isinstance(day, datetime) and day.tzinfo is None else day
    return BucketRule(**named, action=action, days=days, on=on)
