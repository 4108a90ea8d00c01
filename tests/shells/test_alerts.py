"""Telling people: what goes to the log, a webhook and a command, how often, and what never gets into it."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver import alerts
from archiver.catalogue import Catalogue
from archiver.config import describe
from archiver.core.budget import Limit
from archiver.core.errors import Transient, Unusable
from tests.catalogue.filling import NOW, draft, opened
from tests.doubles.http1 import Reply, Request
from tests.doubles.provider import ImagesProvider, Mishap
from tests.doubles.wire import Fault, Wire
from tests.shells.configuring import complaint, configured
from tests.shells.test_daemon import until
from tests.world import World, file_section

TOKEN = "T0PL4NTED/w3bh00kt0ken0123456789"
MINUTE = timedelta(minutes=1)


@dataclass
class Hook:
    """Somebody's webhook: what it got, and the status that it answers."""

    got: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200

    def __enter__(self) -> "Hook":
        self._wire = Wire(self._answer, lambda request: request.path, lambda: datetime.now(UTC), None)
        self.url = f"http://{self._wire.authority}/services/{TOKEN}"
        self._wire.__enter__()
        return self

    def __exit__(self, *_: Any) -> None:
        self._wire.__exit__(None, None, None)

    def _answer(self, request: Request, _fault: Fault) -> Reply:
        assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
        assert request.path == f"/services/{TOKEN}"
        self.got.append(json.loads(request.body))
        return Reply(self.status, {}, b"whatever")


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook on loopback."""
    with Hook() as hook:
        yield hook


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """A catalogue with one generation whose outcome is unknown."""
    catalogue = opened(tmp_path)
    catalogue.generations.add([draft("doubt")], NOW)
    assert catalogue.generations.begin_submit("apiyi", "me", NOW) is not None
    catalogue.generations.doubt("gdoubt", "me", "timeout", NOW)
    yield catalogue
    catalogue.close()


@dataclass
class Watch:
    """An alarm whose clock and ways are the test's."""

    catalogue: Catalogue
    now: datetime = NOW
    fails: bool = False
    limits: tuple[Limit, ...] = ()
    told: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def check(self, minutes: float = 0) -> None:
        """Let time pass, then look."""
        self.now += minutes * MINUTE
        self.alarm().check()

    def alarm(self) -> alerts.Alarm:
        """Made anew: everything that is remembered lies in the catalogue."""
        return alerts.Alarm(
            catalogue=self.catalogue,
            tell=lambda alert: self.told.append(f"{alert.kind} {alert.subject}"),
            ways=[self._send],
            spool_max=1000,
            now=lambda: self.now,
            limits=self.limits,
        )

    def _send(self, message: bytes) -> None:
        if self.fails:
            raise OSError
        self.sent.append(json.loads(message)["data"]["kind"])


def test_an_alert_is_told_and_sent_once_an_hour_while_it_stands(catalogue: Catalogue) -> None:
    """Two processes share the memory."""
    watch = Watch(catalogue)
    watch.check()
    watch.check(1)
    watch.check(58)
    assert (watch.told, watch.sent) == (["unknown apiyi"], ["unknown"])
    watch.check(1)
    assert (watch.told, watch.sent) == (["unknown apiyi"] * 2, ["unknown"] * 2)


def test_what_was_over_and_comes_back_is_told_at_once(catalogue: Catalogue) -> None:
    watch = Watch(catalogue)
    watch.check()
    connection = catalogue._database.connection
    connection.execute("update generations set written_off_at = 'x'")
    watch.check(1)
    connection.execute("update generations set written_off_at = null")
    watch.check(1)
    assert watch.sent == ["unknown"] * 2


def test_a_budget_that_is_nearly_spent_is_told_of_once_a_day(catalogue: Catalogue) -> None:
    """However often one looks, and also when a free answer takes it below the threshold for a while."""
    limits = (Limit(scope="archiver", per="day", micro=100_000, zone=UTC),)
    catalogue.outcomes.write_off("gdoubt", "known", NOW)
    watch = Watch(catalogue, limits=limits)
    for number in range(9):
        catalogue.generations.add([draft(number)], NOW)
        assert catalogue.generations.begin_submit("apiyi", "me", NOW, cost=lambda _: 10_000, limits=limits)
        watch.check()
    assert watch.told == ["budget archiver 2026-11-20"]
    for number in (8, 7):
        assert catalogue.generations.withdraw(f"g{number}", "me", NOW + 30 * MINUTE, "429", NOW)
        watch.check(61)
    watch.now += timedelta(days=1)
    assert catalogue.generations.begin_submit("apiyi", "me", watch.now, cost=lambda _: 90_000, limits=limits)
    watch.check()
    watch.check(61)
    assert watch.told == ["budget archiver 2026-11-20", "budget archiver 2026-11-21"]
    assert watch.sent == ["budget", "budget"]


def test_what_could_not_be_sent_is_sent_in_the_next_round_and_logged_once(catalogue: Catalogue) -> None:
    watch = Watch(catalogue, fails=True)
    watch.check()
    watch.check(1)
    assert (watch.told, watch.sent) == (["unknown apiyi"], [])
    watch.fails = False
    watch.check(1)
    watch.check(1)
    assert (watch.told, watch.sent) == (["unknown apiyi"], ["unknown"])


def test_a_catalogue_that_cannot_be_used_is_told_of_and_stops_nobody(catalogue: Catalogue) -> None:
    """A file full of something else: the daemon's round tells and comes back."""
    watch = Watch(catalogue)
    catalogue.close()
    catalogue.path.write_bytes(b"no database at all" * 1000)
    watch.check()
    assert (watch.told, watch.sent) == (["catalogue catalogue"], ["catalogue"])
    watch.alarm().cry(Unusable("disk full"))
    assert watch.sent == ["catalogue"] * 2


# --- the configuration ----------------------------------------------------------------------------------------------


def test_an_address_is_never_shown_in_full(tmp_path: Path) -> None:
    """Its path is the password: a reference is shown as written, of an address only the host."""
    config = configured(tmp_path, f'[alerts]\nwebhook = "https://hooks.example.com/{TOKEN}?key={TOKEN}"')
    shown = {row.key: row.value for row in describe(config)}
    assert shown["alerts.webhook"] == "https://hooks.example.com/***"
    assert TOKEN not in repr(config.alerts)
    config = configured(tmp_path, '[alerts]\nwebhook = "env:HOOK"\ncommand = ["tell", "me"]')
    shown = {row.key: row.value for row in describe(config)}
    assert (shown["alerts.webhook"], shown["alerts.command"]) == ("env:HOOK", ["tell", "me"])


@pytest.mark.parametrize(
    "webhook",
    [
        f"http://example.com/{TOKEN}",
        f"ftp://example.com/{TOKEN}",
        f"https:///{TOKEN}",
        f"https://user:{TOKEN}@host/",
        f"https://host/{TOKEN} x",
        f"https://host:0/{TOKEN}",
        TOKEN,
    ],
)
def test_a_useless_address_is_refused_and_not_repeated(tmp_path: Path, webhook: str) -> None:
    said = complaint(tmp_path, f'[alerts]\nwebhook = "{webhook}"')
    assert "alerts.webhook" in said
    assert TOKEN not in said


def test_a_missing_secret_shows_before_anything_is_spent(tmp_path: Path) -> None:
    """`run --once` exits with 2, and the provider was not asked."""
    world = World(tmp_path / "user")
    with ImagesProvider() as provider:
        world.configure(_job(tmp_path) + '\n[alerts]\nwebhook = "env:HOOK"\n', provider=provider)
        assert world.run("run", "--once").returncode == 2
        world.environment["HOOK"] = f"http://example.com/{TOKEN}"
        done = world.run("run", "--once")
        assert done.returncode == 2
        assert "alerts.webhook" in done.stderr
        assert TOKEN not in done.stderr
        assert provider.charges == []


# --- as a user sees it ------------------------------------------------------------------------------------------------


def _job(tmp_path: Path, schedule: str = "every 1h") -> str:
    job = f'\n[[jobs]]\nname = "lights"\nschedule = "{schedule}"\nprovider = "double"\nprompts = ["a secret wish"]\n'
    return file_section("main", tmp_path / "archive") + job


def _listener(folder: Path) -> str:
    """A command that keeps every alert it gets."""
    program = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"
    return f"command = {json.dumps([sys.executable, '-c', program, str(folder / 'heard.txt')])}"


def test_an_unknown_outcome_reaches_webhook_command_and_person(tmp_path: Path, hook: Hook) -> None:
    """At the end of `run --once`, once; `status` shows it as a line and in its JSON."""
    world = World(tmp_path / "user", {"HOOK": hook.url})
    with ImagesProvider([Mishap(cut="after")]) as provider:
        text = f'\n[alerts]\nwebhook = "env:HOOK"\n{_listener(tmp_path)}\n'
        world.configure(_job(tmp_path) + text, provider=provider, price_usd=0.04)
        done = world.run("run", "--once")
        assert done.returncode == 1
        assert "alert (warn): 1 generation of double" in done.stderr
        second = world.run("drain")
        assert "alert" not in second.stderr
    (message,) = hook.got
    assert message["type"] == "archiver.alert"
    assert datetime.fromisoformat(message["timestamp"]).tzinfo is not None
    assert {key: message["data"][key] for key in ("kind", "level", "subject")} == {
        "kind": "unknown",
        "level": "warn",
        "subject": "double",
    }
    assert "$0.04" in message["data"]["text"]
    assert [json.loads(line) for line in (tmp_path / "heard.txt").read_text().splitlines()] == [message]
    asked = world.run("status", "--json")
    assert asked.returncode == 1
    assert json.loads(asked.stdout)[0]["alerts"] == [message["data"]]
    assert "alert (warn): 1 generation of double" in world.run("status").stdout
    for said in (done.stderr, asked.stdout, json.dumps(message), world.run("config", "show").stdout):
        assert TOKEN not in said
    assert "secret wish" not in asked.stdout + json.dumps(message)


def test_the_daemon_tells_and_a_webhook_that_fails_does_not_hurt_it(tmp_path: Path, hook: Hook) -> None:
    """It answers 500: the daemon logs the alert, logs that it was not sent without the address, and works on."""
    hook.status = 500
    world = World(tmp_path / "user", {"HOOK": hook.url})
    with ImagesProvider([Mishap(cut="after")]) as provider:
        world.configure(_job(tmp_path) + '\n[alerts]\nwebhook = "env:HOOK"\n', provider=provider)
        done = world.run("run", "--once")
        assert len(hook.got) == 1, done.stderr
        daemon = world.start("run")
        until(lambda: len(hook.got) == 2, "the daemon sends again what had not been taken")
        assert world.stop(daemon, signal.SIGTERM) == 0
    lines = [json.loads(line) for line in (world.folder / "stderr.txt").read_text().splitlines() if line[0] == "{"]
    assert "the webhook answered 500" in [line.get("error") for line in lines if line["event"] == "alert not sent"]
    assert TOKEN not in (world.folder / "stderr.txt").read_text()


def test_the_daemon_writes_one_line_of_the_log_for_each_alert(tmp_path: Path) -> None:
    world = World(tmp_path / "user")
    with ImagesProvider([Mishap(cut="after")]) as provider:
        world.configure(_job(tmp_path, "every 1s"), provider=provider)
        daemon = world.start("run")
        until(lambda: bool(_lines(world, "stored")), "the second tick is archived")
        assert world.stop(daemon) == 0
        again = world.start("run")
        until(lambda: bool(_lines(world, "alert")), "the alert of the first tick is in the log")
        assert world.stop(again) == 0
    (line,) = _lines(world, "alert")
    assert (line["level"], line["kind"], line["subject"]) == ("warning", "unknown", "double")


def _lines(world: World, event: str) -> list[dict[str, Any]]:
    path = world.folder / "stderr.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for text in lines if text[:1] == "{" and (line := json.loads(text))["event"] == event]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["/nowhere/at/all"], "cannot be started: No such file"),
        (["false"], "exited with 1"),
        (["sh", "-c", "sleep 60 & sleep 60"], "did not end within"),
    ],
)
def test_a_command_that_fails_or_hangs_is_an_error_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, command: list[str], reason: str
) -> None:
    """A program that is not there, one that fails, one that never ends."""
    monkeypatch.setattr(alerts, "TIMEOUT_S", 0.5)
    with pytest.raises(Transient, match=reason):
        alerts._run(command, b"{}")


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that only the child of the command holds open comes to its end."""
    monkeypatch.setattr(alerts, "TIMEOUT_S", 0.5)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(Transient):
            alerts._run(["sh", "-c", f"sleep 60 > {pipe} & sleep 60"], b"{}")
        os.set_blocking(reader, True)
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)
