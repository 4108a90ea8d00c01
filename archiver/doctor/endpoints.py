"""What a refusal of a store means for whoever wrote its section, in one line: address, region, key, or a right.

Of a reply only codes and names of places are taken. Pure; it asks nobody.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from archiver.core.model import HttpReply
from archiver.doctor.findings import Finding, bad, warn
from archiver.transport.guard import literal_address
from archiver.transport.reply import error_code

_ENDPOINT = re.compile(rb"<Endpoint>\s*([A-Za-z0-9.-]{3,200})\s*</Endpoint>")
_REGION = re.compile(r'the store expects region = "([a-z0-9-]+)"')
_BUCKET = re.compile(r"[a-z0-9]+://([^/]+)")
_INTERNAL = re.compile(r"oss-([a-z0-9-]+)-internal\.aliyuncs\.com")
_POLICIES = "docs/policies.md has the whole policy"
#: What a store must be allowed to do, by what was tried: the right of S3, the right of OSS, and who needs it.
RIGHTS = {
    "put": ("s3:PutObject", "oss:PutObject", "archiving"),
    "head": ("s3:GetObject", "oss:GetObject", "archiving"),
    "read": ("s3:GetObject", "oss:GetObject", "archiving"),
    "overwrite": ("s3:GetObject", "oss:GetObject", "archiving"),
    "list": ("s3:ListBucket (on the bucket)", "oss:ListObjects (on the bucket)", "check and rebuild"),
    "rules": ("s3:GetLifecycleConfiguration", "oss:GetBucketLifecycle", "check and doctor"),
}


def mistakes(subject: str, settings: Any) -> Iterator[Finding]:
    """What is wrong with the address of a store, as far as it can be seen without asking."""
    endpoint, bucket = getattr(settings, "endpoint", None), _bucket(settings)
    if endpoint is None or not bucket:
        return
    parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    host = parts.hostname or ""
    if host.startswith(f"{bucket}.") and not getattr(settings, "cname", False):
        text = f"endpoint begins with the bucket's name: keys would lie elsewhere than `url` says ({host})"
        rest = host.removeprefix(f"{bucket}.")
        yield bad(subject, "endpoint", text, f'write endpoint = "{parts.scheme}://{rest}"; the bucket is named in url')
    if parts.path.strip("/") == bucket:
        text = "endpoint ends with the bucket's name, which `url` names already"
        yield bad(subject, "endpoint", text, f'write endpoint = "{parts.scheme}://{parts.netloc}"')
    if parts.scheme == "http" and not _is_near(host):
        text = f"http to {host} shows everybody on the way your images and signed addresses"
        yield warn(subject, "endpoint", text, f'write endpoint = "https://{parts.netloc}"')


def advice(tried: str, said: str, settings: Any, reply: HttpReply | None) -> tuple[str, str]:
    """What happened and what to do, from the words of an adapter's error and the reply behind it, where there was
    one."""
    text, _, hint = said.partition(" (")
    if " was answered " not in said:
        return said, _unreached(said, settings)
    hint = hint.removesuffix(")").replace(") (", "; ")
    body = reply.body if reply is not None else b""
    if place := _ENDPOINT.search(body):
        return text, _elsewhere(place[1].decode("ascii"), settings)
    if region := _REGION.search(said):
        return text, f'write region = "{region[1]}" and no endpoint, or the endpoint of that region'
    code = error_code(body) or text.rpartition(" ")[2]
    if code in ("AccessDenied", "403", "AllAccessDisabled") and tried in RIGHTS:
        s3, oss, whom = RIGHTS[tried]
        right = oss if _is_oss(settings) else s3
        return text, f"{whom} needs the right {right}; {_POLICIES}"
    if code in ("NotImplemented", "MethodNotAllowed", "501", "405"):
        return text, f"this server cannot do that; {RIGHTS[tried][2] if tried in RIGHTS else 'it'} must do without"
    return text, hint or "see the store's own documentation on this answer"


def _elsewhere(endpoint: str, settings: Any) -> str:
    endpoint = endpoint.removeprefix(f"{_bucket(settings)}.")
    region = re.match(r"oss-([a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com", endpoint)
    also = f' and region = "{region[1]}"' if region else ""
    return f'the bucket is at another endpoint: write endpoint = "https://{endpoint}"{also}'


def _unreached(said: str, settings: Any) -> str:
    endpoint = str(getattr(settings, "endpoint", "") or "")
    if internal := _INTERNAL.search(endpoint):
        public = f"https://oss-{internal[1]}.aliyuncs.com"
        return f'an internal endpoint is reached from within Aliyun only; elsewhere write endpoint = "{public}"'
    return network_advice(said, "endpoint and region")


def network_advice(said: str, key: str) -> str:
    """What to do about a network fault, by its words; `key` is the setting that names the address."""
    for words, what in (
        ("proxy", "see whether [network] proxy is right, and running"),
        ("cannot be resolved", f"DNS: correct {key}, or the name servers of this machine"),
        ("no connection", f"TCP: correct {key}; or a firewall is in between, and [network] proxy is needed"),
        ("certificate", "TLS: the certificate is not that of a trusted server: set [network] ca_file if it is yours"),
        ("TLS failed", f"TLS: does the other side speak https? Correct {key}"),
        ("no proper HTTP", f"does the other side speak http? Correct {key}"),
        ("no credentials", "set the keys of this store, or give the machine a role"),
        ("no region", "set region"),
        ("refuses this endpoint", f"correct {key}"),
    ):
        if words in said:
            return what
    return "try again; if it stays so, see whether this machine reaches the server at all"


def _bucket(settings: Any) -> str:
    match = _BUCKET.match(str(getattr(settings, "url", "")))
    return match[1] if match else ""


def _is_oss(settings: Any) -> bool:
    return str(getattr(settings, "url", "")).startswith("oss:")


def _is_near(host: str) -> bool:
    """Within this machine or its own network: an address that is spelt out, a name without a dot, Aliyun's inside."""
    return literal_address(host) is not None or "." not in host or host.endswith((".local", ".internal")) or (
        _INTERNAL.search(host) is not None
    )  # fmt: skip
