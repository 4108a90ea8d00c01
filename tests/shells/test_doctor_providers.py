"""`archiver doctor` about providers and the proxy: who cannot be reached, and why."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.whole_s3 import WholeS3
from tests.fault.canaries import SECRETS, seen_in
from tests.shells.doctored import doctor, set_up
from tests.world import World, file_section

LATE = timedelta(minutes=20)


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


def test_providers_that_cannot_be_reached_are_told_apart(world: World, tmp_path: Path) -> None:
    """A name that nobody knows, a port where nobody listens, and plain HTTP behind https: one line each."""
    with ImagesProvider() as running, ImagesProvider() as down:
        down.down()
        running.api_key = down.api_key = "sk-none"
        addresses = {
            "name": "https://no-such-host.invalid",
            "port": down.endpoint,
            "tls": running.endpoint.replace("http://", "https://"),
            "well": running.endpoint,
        }
        text = file_section("main", tmp_path / "archive")
        for name, address in addresses.items():
            text += f'\n[providers.{name}]\nkind = "images"\nbase_url = "{address}"\nmodel = "m"\n'
        world.configure(text)
        found = doctor(world, code=1)
    says = {
        name: found[f"provider {name}", "reach"]["text"] + found[f"provider {name}", "reach"]["advice"]
        for name in addresses
    }
    assert "cannot be resolved" in says["name"] and "DNS" in says["name"]
    assert "no connection" in says["port"] and "TCP" in says["port"]
    assert "TLS failed" in says["tls"] and "speak https" in says["tls"]
    assert found["provider well", "reach"]["verdict"] == "ok"
    assert running.charges == []


def test_a_proxy_is_named_without_its_password(world: World, provider: ImagesProvider, bucket: Any) -> None:
    """What leaves the machine goes through it; a provider on this machine is asked past it, as it is in earnest."""
    set_up(world, bucket, provider=provider)
    secret = SECRETS["proxy password"]
    world.environment["ARCHIVER_NETWORK__PROXY"] = f"http://me:{secret}@127.0.0.1:9"
    done = world.run("doctor", "--json")
    assert done.returncode == 3
    assert "http://***@127.0.0.1:9 is used" in done.stdout
    verdicts = {(row["subject"], row["check"]): row["verdict"] for row in json.loads(done.stdout)}
    assert verdicts["store main", "put"] == "bad" and verdicts["provider double", "reach"] == "ok"
    assert seen_in((done.stdout + done.stderr).encode()) == set()
