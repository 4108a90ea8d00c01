"""Planted secrets come out nowhere: not in files, logs, database pages, lineage records or answers, whatever fails.

Every group of failures is a process of its own at its most talkative, followed by a search through all that it left.
What is exempt, and why, is said in `canaries`.
"""

import base64
import json
from pathlib import Path

import pytest

from tests.doubles.http1 import Request
from tests.doubles.oss import OssDouble
from tests.doubles.pngs import png
from tests.doubles.provider import ImagesProvider, Mishap
from tests.doubles.source import Behaviour
from tests.fault.canaries import (
    MODES,
    OF_URLS,
    SECRETS,
    EchoingStore,
    answers,
    bodies,
    environment,
    forms,
    query,
    search,
    seen_in,
    store_section,
    talkative,
)
from tests.pipeline.workshop import open_workshop
from tests.world import World, file_section, oss_section

AUTHORIZATION = SECRETS["authorization in an error"]
KEY = SECRETS["provider key"]
COOKIE = SECRETS["cookie of a source"]
INLINE = SECRETS["inline bytes"]
ECHO = {
    "error": {
        "message": f'upstream refused: {{"Authorization": "Bearer {AUTHORIZATION}"}} for api_key={KEY}',
        "headers": {"authorization": f"Bearer {KEY}", "x-api-key": AUTHORIZATION},
    }
}
PAGE = (
    f"<!DOCTYPE html><html><body>denied<pre>Authorization: Bearer {AUTHORIZATION}\nCookie: sid={COOKIE}</pre>"
    f"token={COOKIE} https://host/a.png{query()}</body></html>"
).encode()
HEADERS = {"Set-Cookie": f"sid={COOKIE}", "X-Debug": f"Authorization: Bearer {AUTHORIZATION}"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A talkative one, with secrets in its environment."""
    world = World(tmp_path / "user", environment())
    world.folder.mkdir()
    talkative(world)
    return world


def work(world: World, *arguments: str, code: int) -> bytes:
    """Run one command; its output, which is searched as well."""
    done = world.run("-v", *arguments)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    said = (done.stdout + done.stderr).encode()
    assert seen_in(said) == set(), f"{arguments}\n{said.decode()}"
    return said


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """A search that finds nothing anywhere would prove nothing: every form of every secret is seen."""
    for name, value in SECRETS.items():
        for form in forms(value[:32]):
            assert seen_in(b"before " + form + b" after") == {name}
        assert seen_in(base64.b64encode(b"user:" + value.encode() + b"\n")) == {name}
    world = World(tmp_path)
    page = tmp_path / "data/catalogue.db-wal"
    page.parent.mkdir()
    page.touch(0o600)
    page.write_bytes(b"\0" * 5000 + query().encode())
    assert search(world) == {f"{name} in data/catalogue.db-wal" for name in OF_URLS}
    assert search(world, waiting=True) == set()


PROVIDER = {
    "401 echo": Mishap(status=401, body=json.dumps(ECHO).encode(), headers=HEADERS),
    "401 prose": Mishap(status=401, body=f"Incorrect API key provided: {KEY}. Visit https://host/{query()}".encode()),
    "400 echo": Mishap(status=400, body=json.dumps(ECHO).encode()),
    "500 echo": Mishap(status=500, body=json.dumps(ECHO).encode(), headers=HEADERS),
    "403 page": Mishap(status=403, body=PAGE, headers={"Content-Type": "text/html", **HEADERS}),
    "302": Mishap(status=302, body=b"", headers={"Location": f"https://elsewhere/{query()}"}),
    "429 page": Mishap(status=429, body=PAGE, headers={"Retry-After": "3600", **HEADERS}),
    "200 page": Mishap(body=PAGE, headers={"Content-Type": "text/html"}, charged=True),
    "200 error": Mishap(body=json.dumps(ECHO).encode(), charged=True),
    "200 a word in place of a URL": Mishap(body=json.dumps({"data": [{"url": f"ftp://host/a{query()}"}]}).encode()),
    "200 cut": Mishap(body=json.dumps({"data": [{"url": f"https://host/a.png{query()}"}]}).encode()[:-9]),
    "200 inline, cut": Mishap(body=json.dumps({"data": [{"b64_json": INLINE}]}).encode()[:-9]),
    "200 inline, no base64": Mishap(body=json.dumps({"data": [{"b64_json": INLINE + "!"}]}).encode()),
    "cut after": Mishap(cut="after"),
    "cut midway": Mishap(cut="midway", body=json.dumps({"data": [{"url": f"https://host/a.png{query()}"}]}).encode()),
}


def test_a_provider_that_fails_in_every_way_gives_nothing_away(world: World, tmp_path: Path) -> None:
    """Each refusal, page, echo and torn answer for a prompt of its own, then no connection at all."""

    def mishap(request: Request) -> Mishap:
        return PROVIDER[json.loads(request.body)["prompt"]]

    with ImagesProvider(mishap) as provider:
        provider.api_key = KEY
        world.configure(file_section("main", tmp_path / "archive"), provider=provider)
        for prompt in PROVIDER:  # one after the other: after the first 401 nobody would ask for the rest
            if prompt.startswith("401"):
                work(world, "generate", prompt, code=1)
        work(world, "generate", *(prompt for prompt in PROVIDER if not prompt.startswith("401")), code=1)
        assert len(provider.requests) == len(PROVIDER), "every mishap has to be felt"
        provider.down()
        work(world, "generate", "a wish for a connection", code=1)
    # A URL that nobody could read lies in no row, hence nothing is waiting.
    assert search(world) == set()
    assert seen_in(answers(world).encode()) == set()
    states = {row["prompt"]: row["state"] for row in world.sql("select prompt, state from generations")}
    assert set(states.values()) == {"failed", "unknown", "planned"}, states


def source_faults() -> dict[str, Behaviour]:
    """What a source does once, before it serves the image."""
    location = f"http://203.0.113.9/a.png?X-Amz-Signature={SECRETS['signature of a redirect']}&X-Amz-Security-Token=x"
    xml = (
        "<Error><Code>SignatureDoesNotMatch</Code><Message>Request has expired.</Message>"
        f"<StringToSign>GET /a.png{query().replace('&', '&amp;')}</StringToSign></Error>"
    ).encode()
    return {
        "403": Behaviour(status=403, body=xml, headers=HEADERS),
        "404 page": Behaviour(status=404, body=PAGE, headers=HEADERS),
        "503": Behaviour(status=503, body=PAGE, headers={"Retry-After": "1", **HEADERS}),
        "page": Behaviour(body=PAGE, headers=HEADERS),
        "redirect to a private address": Behaviour(redirect=location.replace("203.0.113.9", "10.0.0.1")),
        "redirect to another scheme": Behaviour(redirect=location.replace("http:", "ftp:")),
        "redirect to nobody": Behaviour(redirect=location.replace("203.0.113.9", "127.0.0.1:9")),
        "cut": Behaviour(cut=20),
        "reset": Behaviour(rst=True),
        "gzip": Behaviour(gzip=True, headers={"Content-Encoding": f"gzip {COOKIE}"}),
        "wrong checksum": Behaviour(md5="wrong"),
    }


def test_a_source_that_fails_in_every_way_gives_nothing_away(world: World, tmp_path: Path) -> None:
    """While images wait, their URLs are in the catalogue and the inbox alone; when they are stored, nowhere."""
    with ImagesProvider() as provider:
        provider.api_key = KEY
        world.configure(file_section("main", tmp_path / "user/archive"), provider=provider)
        faults = source_faults()
        urls = [
            provider.source.add(f"/{number}.png{query()}", png(name), behaviour)
            for number, (name, behaviour) in enumerate(faults.items())
        ]
        body = json.dumps({"data": [{"url": url} for url in urls]}).encode()
        provider.script([Mishap(body=body, charged=True)])
        work(world, "generate", "a wish", "-n", "10", code=1)
        # On a slow machine, a fault of the network may be over, and its image stored, before the others are through.
        waiting = world.sql("select error from images where state = 'pending'")
        assert len({row["error"] for row in waiting}) > len(faults) / 2, "every fault has to be felt"
        assert search(world, waiting=True) == set()
        assert any(found.startswith(tuple(OF_URLS)) for found in search(world)), "the URLs have to be somewhere"
        assert seen_in(answers(world).encode()) == set()
        work(world, "drain", code=0)
    assert {row["state"] for row in world.sql("select state from images")} == {"stored"}
    assert search(world) == set(), "temporary URLs are scrubbed when the image is stored"


def test_a_lost_image_takes_its_url_along(tmp_path: Path) -> None:
    """When it is given up after ten days, its row keeps the redacted address, and its answer goes."""
    with ImagesProvider() as provider, open_workshop(tmp_path / "data", double=provider) as shop:
        url = provider.source.add(f"/a.png{query()}", png("a wish"), status=403)
        provider.script([Mishap(body=json.dumps({"data": [{"url": url}]}).encode(), charged=True)])
        shop.plan("double", "a wish")
        shop.ask("double")
        for _ in range(3):
            shop.copy()
            shop.clock.advance(days=5)
        assert seen_in(_all_files(tmp_path)) == OF_URLS
        assert shop.pipeline.expire() == 1
        shop.pipeline.recover()
        assert seen_in(_all_files(tmp_path)) == set()
        assert "[redacted]" in shop.images()[0]["source"]


def _all_files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("scheme", ["oss", "s3"])
def test_a_store_that_fails_in_every_way_gives_nothing_away(world: World, scheme: str) -> None:
    """Each refusal repeats the request with its signature, credentials and string to sign; one takes the bytes and
    gives back others; then there is silence. The images come from a backfill: with such a store nothing is spent."""
    with EchoingStore() as store, ImagesProvider() as provider:
        provider.api_key = KEY
        world.configure(store_section(scheme, store), provider=provider)
        (given := world.folder / "given").mkdir()
        urls = [provider.source.add(f"/{number}.png{query()}", png(mode)) for number, mode in enumerate(MODES)]
        (given / "rows.jsonl").write_text("".join(json.dumps({"url": url}) + "\n" for url in urls), "utf-8")
        work(world, "backfill", "given/rows.jsonl", code=1)
        assert store.felt == set(MODES)
        store.down()
        work(world, "drain", code=1)
        said = answers(world).encode()
    assert {row["state"] for row in world.sql("select state from images")} == {"spooled"}
    signatures = {f"signature {number} of ours": text for number, text in enumerate(store.signatures)}
    assert len(signatures) >= len(MODES)
    assert seen_in(said, signatures) == set()
    assert search(world, signatures, waiting=True) == set()


def test_what_is_stored_and_recorded_holds_no_secret(world: World) -> None:
    """Objects, their metadata and the lineage records in the bucket, with temporary credentials of our own."""
    with OssDouble(security_token=SECRETS["session token"]) as store, ImagesProvider() as provider:
        store.access_key, store.secret_key = SECRETS["access key id"], SECRETS["access key secret"]
        provider.api_key = KEY
        world.keys_of(store)
        section = oss_section("main", store) + 'session_token = "env:CANARY_SESSION"\n'
        world.configure(section, provider=provider)
        url = provider.source.add(f"/a.png{query()}", png("a wish"))
        provider.script([Mishap(body=json.dumps({"data": [{"url": url}]}).encode(), charged=True)])
        work(world, "generate", "a wish", code=0)
        names = "".join(store.objects)
        assert "_lineage/" in names and ".png" in names
        assert seen_in(bodies(store.objects.values()) + names.encode()) == set()
    assert seen_in(answers(world).encode()) == set()
    assert search(world) == set()


def test_secrets_in_other_columns_of_a_backfill_are_not_kept(world: World, tmp_path: Path) -> None:
    """Metadata is kept for ever: a column that is called as a secret, and one whose text holds one."""
    given = world.folder / "given"
    given.mkdir()
    with ImagesProvider() as provider:
        provider.api_key = KEY
        url = provider.source.add(f"/a.png{query()}", png("a wish"))
        row = {
            "url": url,
            "prompt": "a wish",
            "api_key": SECRETS["secret in a column"],
            "request": {"headers": {"Authorization": f"Bearer {SECRETS['secret text in a column']}"}, "note": "kept"},
            "log": f"curl -H 'Authorization: Bearer {SECRETS['secret text in a column']}' {url}",
        }
        (given / "rows.jsonl").write_text(json.dumps(row) + "\n" + "{broken " + json.dumps(row), "utf-8")
        columns = "url,prompt,secret_access_key,x-oss-security-token,colour"
        values = f"{url},a wish,{SECRETS['secret in a column']},{SECRETS['secret text in a column']},red"
        (given / "rows.csv").write_text(f"{columns}\n{values.replace('a.png', 'b.png')}\n", "utf-8")
        provider.source.add(f"/b.png{query()}", png("another wish"))
        world.configure(file_section("main", tmp_path / "user/archive"), provider=provider)
        for name in ("rows.jsonl", "rows.csv"):
            done = world.run("-v", "backfill", f"given/{name}")
            assert seen_in((done.stdout + done.stderr).encode()) == set(), done.stderr
    assert seen_in(answers(world).encode()) == set()
    assert search(world) == set()
    kept = "".join(row["metadata"] for row in world.sql("select metadata from generations"))
    assert '"red"' in kept and '"kept"' in kept, "what is no secret stays"


def test_proxy_and_webhook_keep_their_secrets(world: World, tmp_path: Path) -> None:
    """A proxy that is not there, and a webhook that is not there: both named by their host alone."""
    with ImagesProvider() as provider:
        provider.api_key = KEY
        world.environment |= {
            "ARCHIVER_NETWORK__PROXY": f"http://me:{SECRETS['proxy password']}@127.0.0.1:9",
            "CANARY_HOOK": f"http://127.0.0.1:9/services/{SECRETS['webhook token']}?token={SECRETS['webhook token']}",
        }
        text = file_section("main", tmp_path / "user/archive") + '\n[alerts]\nwebhook = "env:CANARY_HOOK"\n'
        job = '\n[[jobs]]\nname = "wishes"\nschedule = "every 1h"\nprovider = "double"\nprompts = ["a wish", "two"]\n'
        world.configure(text + job, provider=provider)
        url = provider.source.add(f"/a.png{query()}", png("a wish"))
        provider.script([Mishap(body=json.dumps({"data": [{"url": url}]}).encode(), charged=True), Mishap(cut="after")])
        said = work(world, "run", "--once", code=1)
        assert b"alert not sent" in said
        assert search(world, waiting=True) == set()
        assert seen_in(answers(world).encode()) == set()
