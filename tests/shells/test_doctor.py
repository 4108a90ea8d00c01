"""`archiver doctor` as a whole: what it leaves alone, its options, and that it never raises nor gives secrets away."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.core.errors import UsageError
from archiver.doctor import Patient, examine, exit_code
from archiver.doctor.findings import CONFIGURATION, Finding, bad, kept, veiled
from archiver.pipeline.preflight import PROBE
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.whole_s3 import WholeS3
from tests.fault.canaries import MODES, EchoingStore, environment, seen_in, store_section
from tests.shells.doctored import doctor, set_up, verdicts
from tests.world import World, file_section


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


@pytest.fixture
def provider() -> Iterator[ImagesProvider]:
    with ImagesProvider() as running:
        yield running


@pytest.fixture(params=["s3", "oss"])
def bucket(request: Any) -> Iterator[Any]:
    """A bucket of each kind, strict with everything."""
    with WholeS3() if request.param == "s3" else OssDouble() as running:
        yield running


# --- all is well -----------------------------------------------------------------------------------------------------


def test_a_fresh_install_is_fine_and_stays_fresh(world: World, tmp_path: Path) -> None:
    world.configure(file_section("main", tmp_path / "archive"))
    (world.folder / "archiver.toml").chmod(0o600)
    found = doctor(world)
    assert {row["verdict"] for row in found.values()} == {"ok"}
    assert "there is none" in found["catalogue", "file"]["text"]
    assert not (world.folder / "data").exists()
    assert [path for path in (tmp_path / "archive").rglob("*") if path.is_file()] == [
        tmp_path / "archive/_canary/probe"
    ]


def test_a_bucket_that_does_everything_is_fine_twice(world: World, provider: ImagesProvider, bucket: Any) -> None:
    """Nothing is paid, nothing but the probe is written, and the catalogue of a working archiver is left as it is."""
    set_up(world, bucket, provider=provider)
    world.ok("generate", "a cat")
    before = {path: path.read_bytes() for path in (world.folder / "data").rglob("*") if path.is_file()}
    keys, paid = set(bucket.objects), len(provider.charges)
    for _ in range(2):
        found = doctor(world)
        assert {row["verdict"] for row in found.values()} == {"ok"}, found
    proof = "checksum-sha256" if isinstance(bucket, WholeS3) else "crc64"
    assert proof in found["store main", "proof"]["text"]
    checks = {"put", "proof", "metadata", "read", "overwrite", "list", "presign", "anonymous", "rules"}
    assert set(verdicts(found, "store main")) == checks
    assert "127.0.0.1" in found["clock", "date"]["text"]
    assert set(bucket.objects) - keys <= {"archive/_canary/probe"}
    assert bucket.objects["archive/_canary/probe"].body == PROBE
    assert len(provider.charges) == paid and provider.requests[-1].method == "GET"
    assert "authorization" not in provider.requests[-1].headers
    assert before == {path: path.read_bytes() for path in (world.folder / "data").rglob("*") if path.is_file()}


def test_the_words_for_people_are_one_line_a_check(world: World, bucket: Any) -> None:
    set_up(world, bucket)
    bucket.secret_key = "another"
    done = world.run("doctor", "--store", "main")
    assert done.returncode == 3
    (line,) = [line for line in done.stdout.splitlines() if "store main: put" in line]
    assert line.startswith("bad   store main: put: put was answered 403 SignatureDoesNotMatch; the ")
    assert line.endswith("is wrong, or a proxy changes requests")


def test_offline_asks_nobody(world: World, provider: ImagesProvider, bucket: Any, tmp_path: Path) -> None:
    """A folder is tried all the same; a bucket's address is judged by its looks."""
    set_up(world, bucket, file_section("near", tmp_path / "near"), provider=provider)
    found = doctor(world, "--offline")
    assert (bucket.requests, provider.requests) == ([], [])
    assert ("store main", "put") not in found and ("clock", "date") not in found
    assert found["store near", "put"]["verdict"] == "ok"


def test_one_store_or_one_provider_can_be_tried_alone(world: World, provider: ImagesProvider, bucket: Any) -> None:
    set_up(world, bucket, provider=provider)
    assert {subject for subject, _ in doctor(world, "--provider", "double")} == {
        "configuration",
        "provider double",
        "clock",
    }
    assert bucket.requests == []
    asked = len(provider.requests)
    assert {subject for subject, _ in doctor(world, "--store", "main")} == {"configuration", "store main", "clock"}
    assert len(provider.requests) == asked
    assert "there is no store 'other'" in doctor(world, "--store", "other", code=2)["configuration", "load"]["text"]


# --- configuration and secrets ---------------------------------------------------------------------------------------


def test_a_configuration_that_does_not_load_ends_with_2(world: World) -> None:
    world.configure('[stores.main]\nurl = "file:///srv"\nadressing = "path"\n')
    found = doctor(world, code=2)
    assert "adressing: unknown setting" in found["configuration", "load"]["text"]
    assert found["machine", "python"]["verdict"] == "ok", "the machine is looked at all the same"
    world.configure("")
    assert "no store is configured" in doctor(world, code=2)["stores", "all"]["text"]


def test_secrets_that_are_missing_or_open(world: World, bucket: Any) -> None:
    set_up(world, bucket)
    del world.environment["TEST_KEY_SECRET"]
    found = doctor(world, code=3)
    assert (
        "stores.main.access_key_secret: the environment variable TEST_KEY_SECRET is not set"
        in (found["configuration", "secrets"]["text"])
    )
    path = world.folder / "archiver.toml"
    path.write_text(path.read_text().replace("env:TEST_KEY_SECRET", "file:key.txt"))
    (world.folder / "key.txt").write_text(bucket.secret_key)
    (world.folder / "key.txt").chmod(0o644)
    path.chmod(0o644)
    done = world.run("doctor", "--json")
    assert done.returncode == 0 and bucket.secret_key not in done.stdout
    rows = json.loads(done.stdout)
    warned = {(row["subject"], row["check"]): row["advice"] for row in rows if row["verdict"] == "warn"}
    assert warned["configuration", "secrets"] == f"chmod 600 {world.folder}/key.txt"
    assert warned["configuration", "permissions"].startswith(f"chmod o-r {path}")
    path.chmod(0o666)
    assert "chmod go-w" in doctor(world, code=1)["configuration", "permissions"]["advice"]


@pytest.mark.parametrize("scheme", ["oss", "s3"])
def test_a_store_that_repeats_secrets_is_not_repeated(world: World, scheme: str) -> None:
    """Its refusals hold the request, the signature and the keys; each prefix is refused in another way."""
    with EchoingStore() as store:
        world.environment |= environment()
        for number in range(7):
            world.configure(store_section(scheme, store).replace("/archive", f"/archive-{number}"))
            done = world.run("-v", "doctor", *(() if number % 2 else ("--json",)))
            said = done.stdout + done.stderr
            assert done.returncode == 3 and "broke off" not in said
            signatures = {text: text for text in store.signatures}
            assert signatures and seen_in(said.encode(), signatures) == set()
        assert store.felt == set(MODES)


# --- it never raises -------------------------------------------------------------------------------------------------


def test_a_check_that_breaks_is_a_finding_with_its_class() -> None:
    def broken() -> Iterator[Finding]:
        yield bad("a", "b", "first", "x")
        raise ZeroDivisionError("with a secret in its text")

    found = list(kept("a", "b", broken))
    assert [finding.text for finding in found] == ["first", "the check itself broke off: ZeroDivisionError"]
    assert exit_code(found) == 1

    def unloadable() -> Any:
        raise RecursionError

    found = list(examine(Patient(load=unloadable)))
    assert found[-1].subject == "configuration" and "RecursionError" in found[-1].text and exit_code(found) == 1

    def wrong() -> Any:
        raise UsageError("there is no such store")

    assert exit_code(list(examine(Patient(load=wrong)))) == 2


def test_no_finding_holds_a_secret_whatever_a_check_says() -> None:
    """Known secrets go from text and advice, what looks like one goes from the text; names of settings stay."""
    said = bad("a", "b", "found hunter2hunter2 at https://h/k?Signature=abc", "look at hunter2hunter2")
    seen = veiled(said, ["hunter2", "hunter2hunter2"])
    assert (seen.text.count("hunter"), seen.advice) == (0, "look at [redacted]")
    assert "Signature" not in seen.text
    asked = bad("configuration", "load", "providers.double.api_key: is missing", "x", CONFIGURATION)
    assert veiled(asked, []).text == asked.text
