"""The XML bodies of the OSS double: errors and bucket information.

Shapes as Aliyun's pages on error responses, GetBucketInfo and GetBucketAcl show them. This file only writes; it knows
neither requests nor signatures.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from xml.sax.saxutils import escape

Node = tuple[str, "str | list[Node]"]
"""An element: its name, and its text or its children."""

OWNER: Node = ("Owner", [("ID", "1000000000000001"), ("DisplayName", "1000000000000001")])


def document(root: str, children: Iterable[Node]) -> bytes:
    """A whole document, UTF-8."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_element(root, list(children))}'.encode()


def _element(name: str, content: str | list[Node]) -> str:
    inner = escape(content) if isinstance(content, str) else "".join(_element(*child) for child in content)
    return f"<{name}>{inner}</{name}>"


def error(code: str, message: str, request_id: str, host: str, details: Mapping[str, str]) -> bytes:
    """An OSS error body."""
    head: list[Node] = [("Code", code), ("Message", message), ("RequestId", request_id), ("HostId", host)]
    return document("Error", [*head, *details.items()])


def bucket_info(bucket: str, region: str, created: datetime) -> bytes:
    """BucketInfo, with what an SDK reads of it."""
    about: list[Node] = [
        ("CreationDate", f"{created:%Y-%m-%dT%H:%M:%S}.000Z"),
        ("ExtranetEndpoint", f"oss-{region}.aliyuncs.com"),
        ("IntranetEndpoint", f"oss-{region}-internal.aliyuncs.com"),
        ("Location", f"oss-{region}"),
        ("Name", bucket),
        ("StorageClass", "Standard"),
        ("AccessControlList", [("Grant", "private")]),
        OWNER,
    ]
    return document("BucketInfo", [("Bucket", about)])


def bucket_acl() -> bytes:
    """AccessControlPolicy of a private bucket."""
    return document("AccessControlPolicy", [OWNER, ("AccessControlList", [("Grant", "private")])])
