"""docs/policies.md holds what the program calls: every right that it names is asked for, and no other one is.

The requests are those that the strict doubles saw. Each size is also laid upon a double, which then denies whatever is
not in it, and the commands of that size must work.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from archiver.core.model import Network
from archiver.transport import AddressGuard, Body, CurlEngine
from tests.contracts.conftest import _oss, _s3
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.whole_s3 import WholeS3
from tests.doubles.wire import Fault
from tests.world import ROOT, World, oss_section, s3_section

PAGES = [ROOT / "docs" / name for name in ("policies.md", "policies.zh-CN.md")]
SIZES = ("archive only", "and audit", "and delete")
OBJECT = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "GetObject", "DELETE": "DeleteObject"}
BUCKET = {
    "s3": {"list-type": "ListBucket", "lifecycle": "GetLifecycleConfiguration"},
    "oss": {"list-type": "ListObjects", "lifecycle": "GetBucketLifecycle"},
}


def policies(page: Path) -> dict[tuple[str, str], Any]:
    """The documents of a page by scheme and size."""
    found = re.findall(
        r"^### (S3|OSS): ([a-z ]+).*?```json\n(.*?)```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    return {(scheme.lower(), size.strip()): json.loads(text) for scheme, size, text in found}


def actions(policy: Any) -> set[str]:
    return {action for statement in policy["Statement"] for action in statement["Action"]}


def needed(scheme: str, method: str, key: str, query: Iterable[str]) -> str:
    """The right that a request needs. A KeyError is a request that nobody has thought of here."""
    if key:
        return f"{scheme}:{OBJECT[method]}"
    (what,) = {"list-type", "lifecycle"} & set(query)
    assert method == "GET"
    return f"{scheme}:{BUCKET[scheme][what]}"


def asked(scheme: str, server: Any, since: int = 0) -> set[str]:
    """The rights that all signed requests needed."""
    return {
        needed(scheme, seen.method, seen.key, dict(seen.query)) for seen in server.requests[since:] if _is_signed(seen)
    }


def _is_signed(seen: Any) -> bool:
    return "authorization" in seen.headers or any("signature" in name.lower() for name, _ in seen.query)


@contextlib.contextmanager
def double(scheme: str) -> Iterator[Any]:
    with WholeS3() if scheme == "s3" else OssDouble() as running:
        yield running


@pytest.mark.parametrize("scheme", ["s3", "oss"])
def test_the_page_has_exactly_the_rights_that_the_port_uses(scheme: str, tmp_path: Path) -> None:
    """Each size, by the methods of `Store` and `Ruled` that its commands call; together they are all methods."""
    with double(scheme) as server, contextlib.closing(CurlEngine(Network(), AddressGuard())) as engine:
        if scheme == "s3":
            store: Any = _s3(server, engine, tmp_path, "checksum-sha256").store
        else:
            store = _oss(server, engine, tmp_path, v4=True).store

        def get(address: str) -> None:
            assert engine.send("GET", address, headers={}).status == 200

        archive: dict[str, Callable[[], Any]] = {
            "put_new": lambda: [store.put_new("pre/fix/k", Body.of(b"x"), "image/png", {"v": "1"}) for _ in range(2)],
            "open": lambda: b"".join(store.open("pre/fix/k")),
            "presign": lambda: get(store.presign("pre/fix/k", timedelta(minutes=1))),
        }
        audit: dict[str, Callable[[], Any]] = {
            "head": lambda: store.head("pre/fix/k"),
            "list": lambda: list(store.list("pre/fix/")),
            "rules": store.rules,
        }
        delete: dict[str, Callable[[], Any]] = {"delete": lambda: store.delete("pre/fix/k")}
        methods = {name for name in dir(type(store)) if not name.startswith("_") and callable(getattr(store, name))}
        assert methods == {*archive, *audit, *delete}
        for size, group in zip(SIZES, (archive, audit, delete), strict=True):
            for call in group.values():
                call()
            assert asked(scheme, server) == actions(policies(PAGES[0])[scheme, size]), size


def test_both_pages_have_the_same_policies() -> None:
    assert policies(PAGES[0]) == policies(PAGES[1])
    assert set(policies(PAGES[0])) == {(scheme, size) for scheme in ("s3", "oss") for size in SIZES}


def allows(policy: Any, scheme: str, server: Any, action: str, key: str, prefix: str | None) -> bool:
    """Whether a policy lets a request through, its resources and the condition on the prefix included."""
    head = "arn:aws:s3:::" if scheme == "s3" else "acs:oss:*:*:"
    resource = f"{head}{server.bucket}" + (f"/{key}" if key else "")
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        named = statement["Resource"]
        patterns = [named] if isinstance(named, str) else named
        patterns = [pattern.replace("MYBUCKET", server.bucket) for pattern in patterns]
        if action not in statement["Action"] or not any(fnmatchcase(resource, pattern) for pattern in patterns):
            continue
        (wanted,) = statement.get("Condition", {"StringLike": {"": "*"}})["StringLike"].values()
        if fnmatchcase(prefix or "", wanted):
            return True
    return False


def lay_upon(server: Any, scheme: str, policy: Any) -> list[str]:
    """Let a double deny what the policy does not allow; what was denied is told in the list."""
    denied: list[str] = []

    def judge(request: Any) -> Fault | None:
        query = dict(request.query)
        if "authorization" not in request.headers and not any("signature" in name.lower() for name in query):
            return None
        key = request.path.removeprefix(f"/{server.bucket}").removeprefix("/")
        action = needed(scheme, request.method, key, query)
        if allows(policy, scheme, server, action, key, query.get("prefix")):
            return None
        denied.append(action)
        return Fault(status=403, code="AccessDenied")

    server.script(judge)
    return denied


@pytest.mark.parametrize("scheme", ["s3", "oss"])
def test_the_commands_work_under_the_policy_of_their_size(scheme: str, tmp_path: Path) -> None:
    world = World(tmp_path / "user")
    section = s3_section if scheme == "s3" else oss_section
    documents = policies(PAGES[0])
    with double(scheme) as server, ImagesProvider() as provider:
        world.keys_of(server)
        world.configure(section("main", server), provider=provider)

        denied = lay_upon(server, scheme, documents[scheme, "archive only"])
        (image,) = world.rows("generate", "a cat")
        world.ok("generate", "a dog")
        world.ok("drain")
        world.ok("get", image["image_id"], "-o", str(tmp_path / "cat.png"))
        assert denied == []
        assert asked(scheme, server) == actions(documents[scheme, "archive only"])

        # doctor goes on, and says what is missing.
        rows = json.loads(world.ok("doctor", "--store", "main", "--json"))
        warned = {
            row["check"]: row["advice"] for row in rows if row["verdict"] != "ok" and row["subject"] == "store main"
        }
        more = actions(documents[scheme, "and audit"]) - actions(documents[scheme, "archive only"])
        assert set(warned) == {"list", "rules"} and set(denied) == more
        assert all(any(right in text for text in warned.values()) for right in more)

        denied = lay_upon(server, scheme, documents[scheme, "and audit"])
        since = len(server.requests)
        rows = json.loads(world.ok("doctor", "--store", "main", "--json"))
        assert {row["verdict"] for row in rows if row["subject"] == "store main"} == {"ok"}
        (world.folder / "data").rename(tmp_path / "gone")
        world.ok("rebuild", "--from", "main")
        assert denied == []
        assert asked(scheme, server, since) == actions(documents[scheme, "and audit"])
