"""Object listings of the OSS double: GetBucket (ListObjects) and ListObjectsV2.

Order is that of UTF-8 bytes, pages end after `max-keys` names, and a delimiter folds keys into common prefixes. This
file chooses and writes; who may ask is not its business.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from tests.doubles.oss_signing import Denied
from tests.doubles.oss_xml import OWNER, Node, document

_COMMON = frozenset({"prefix", "delimiter", "max-keys", "encoding-type"})
_VERSION_1 = _COMMON | {"marker"}
_VERSION_2 = _COMMON | {"list-type", "start-after", "continuation-token", "fetch-owner"}


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as a listing shows it."""

    key: str
    size: int
    etag: str
    modified: datetime


def parameters(query: Mapping[str, str]) -> frozenset[str]:
    """The query parameters that the asked version of the operation knows."""
    return _VERSION_2 if "list-type" in query else _VERSION_1


def listing(bucket: str, query: Mapping[str, str], objects: Iterable[Listed]) -> bytes:
    """One page of `objects` as ListBucketResult. Raises Denied for parameters that OSS refuses."""
    limit, prefix, delimiter = query.get("max-keys") or "100", query.get("prefix", ""), query.get("delimiter", "")
    if not limit.isdigit() or not 1 <= int(limit) <= 1000 or query.get("list-type", "2") != "2":
        raise Denied(400, "InvalidArgument", "max-keys must be 1 to 1000, list-type must be 2.")
    if query.get("encoding-type", "") not in ("", "url") or query.get("fetch-owner", "false") not in ("true", "false"):
        raise Denied(400, "InvalidArgument", "encoding-type must be url, fetch-owner true or false.")

    def name(text: str) -> str:
        return quote(text, safe="") if query.get("encoding-type") else text

    second = "list-type" in query
    after = query.get("start-after", "") if second else query.get("marker", "")
    children: list[Node] = [
        ("Name", bucket),
        ("Prefix", name(prefix)),
        ("MaxKeys", limit),
        ("Delimiter", name(delimiter)),
    ]
    children.append(("StartAfter" if second else "Marker", name(after)))
    if query.get("encoding-type"):
        children.append(("EncodingType", "url"))
    if query.get("continuation-token"):
        children.append(("ContinuationToken", query["continuation-token"]))
        after = _from_token(query["continuation-token"])
    names = _names(objects, prefix, delimiter)
    rest = [key for key in names if key.encode() > after.encode()]
    shown = rest[: int(limit)]
    children.append(("IsTruncated", "true" if len(rest) > len(shown) else "false"))
    if second:
        children.append(("KeyCount", str(len(shown))))
    if len(rest) > len(shown):
        last = shown[-1]
        children.append(("NextContinuationToken", _to_token(last)) if second else ("NextMarker", name(last)))
    for key in shown:
        line = names[key]
        if line is None:
            children.append(("CommonPrefixes", [("Prefix", name(key))]))
        else:
            children.append(_contents(line, name(key), not second or query.get("fetch-owner") == "true"))
    return document("ListBucketResult", children)


def _names(objects: Iterable[Listed], prefix: str, delimiter: str) -> dict[str, Listed | None]:
    """Keys and (with value None) common prefixes, in order."""
    names: dict[str, Listed | None] = {}
    for line in sorted(objects, key=lambda line: line.key.encode()):
        if not line.key.startswith(prefix):
            continue
        end = line.key.find(delimiter, len(prefix)) if delimiter else -1
        if end < 0:
            names[line.key] = line
        else:
            names[line.key[: end + len(delimiter)]] = None
    return names


def _contents(line: Listed, key: str, owner: bool) -> Node:
    about: list[Node] = [("Key", key), ("LastModified", f"{line.modified:%Y-%m-%dT%H:%M:%S}.000Z"), ("ETag", line.etag)]
    about += [("Type", "Normal"), ("Size", str(line.size)), ("StorageClass", "Standard")]
    return ("Contents", [*about, OWNER] if owner else about)


def _to_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _from_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except ValueError:
        raise Denied(400, "InvalidArgument", "The continuation token provided is incorrect.") from None
