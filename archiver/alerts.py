"""Telling people: what `core.alerting` finds in the catalogue goes to the log, a webhook or a command, not too often.

It never stops the work: what cannot be sent is logged and tried again in the next round. It decides nothing about
what is worth an alert, and no prompt, URL of an image or secret is in what it sends.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from archiver.catalogue import Catalogue, as_text
from archiver.config import check_webhook
from archiver.core.alerting import Alert, Told, catalogue_trouble, conditions, is_due
from archiver.core.budget import Limit, purses
from archiver.core.errors import ArchiverError, ConfigurationError, Transient, Unusable
from archiver.core.model import SecretReference
from archiver.core.ports import Outside
from archiver.core.redaction import redact
from archiver.transport import Body
from archiver.wiring.house import House

TIMEOUT_S = 15.0

Send = Callable[[bytes], None]

log = structlog.get_logger("archiver")


def log_alert(alert: Alert) -> None:
    """One line of the log: an error for what pages, a warning for the others."""
    write = log.error if alert.level == "page" else log.warning
    write("alert", kind=alert.kind, subject=alert.subject, text=alert.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Looks at one catalogue and tells. `tell` shows an alert to whoever reads the output of this process; `ways` send
    it somewhere else, and raise when they could not."""

    catalogue: Catalogue
    tell: Callable[[Alert], None]
    ways: Sequence[Send]
    spool_max: int
    now: Callable[[], datetime]
    limits: Sequence[Limit] = ()

    def check(self) -> None:
        """Tell of every condition that is due to be told of. Raises nothing."""
        try:
            self._round()
        except Unusable as error:
            self.cry(error)
        except Exception as error:  # noqa: BLE001 - alerts must not stop what they watch over
            log.error("alerts not checked", error=type(error).__name__)

    def cry(self, error: Unusable) -> None:
        """The catalogue cannot be used: say so at once, without the memory that lies in it. Raises nothing."""
        alert = catalogue_trouble(str(error))
        self.tell(alert)
        self._is_sent(alert, self.now())

    def _round(self) -> None:
        now = self.now()
        watching = self.catalogue.watching
        told = watching.told()
        standing: dict[Alert, Told] = {}
        way_is_open = bool(self.ways)
        for alert in conditions(watching.facts(now, purses(self.limits, now)), now, spool_max=self.spool_max):
            before = told.get((alert.kind, alert.subject))
            logged_at, sent_at = (before.logged_at, before.sent_at) if before else (None, None)
            if is_due(alert, before, logged_at, now):
                self.tell(alert)
                logged_at = now
            if is_due(alert, before, sent_at, now):
                # After one failure the others wait for the next round: they would only wait for the same host.
                way_is_open = way_is_open and self._is_sent(alert, now)
                sent_at = now if way_is_open else None
            standing[alert] = Told(level=alert.level, logged_at=logged_at, sent_at=sent_at)
        if told != {(alert.kind, alert.subject): said for alert, said in standing.items()}:
            watching.remember(standing, now)

    def _is_sent(self, alert: Alert, now: datetime) -> bool:
        data = {"kind": alert.kind, "level": alert.level, "text": alert.text, "subject": alert.subject}
        message = {"type": "archiver.alert", "timestamp": as_text(now), "data": data}
        try:
            for send in self.ways:
                send(json.dumps(message, ensure_ascii=False).encode())
        except Exception as error:  # noqa: BLE001 - logged, and tried again in the next round
            reason = redact(str(error)) if isinstance(error, ArchiverError) else type(error).__name__
            log.warning("alert not sent", kind=alert.kind, subject=alert.subject, error=reason)
            return False
        return True


def set_up(house: House, tell: Callable[[Alert], None] = log_alert) -> Alarm:
    """The alarm of a house, with the ways that its configuration names."""
    section = house.config.alerts
    ways: list[Send] = []
    if section.webhook is not None:
        ways.append(partial(_post, section.webhook, house.outside))
    if section.command:
        ways.append(partial(_run, section.command))
    return Alarm(
        catalogue=house.catalogue,
        tell=tell,
        ways=ways,
        spool_max=house.config.archiver.spool_max,
        now=house.pipeline.now,
        limits=house.pipeline.limits,
    )


def _post(webhook: SecretReference | str, outside: Outside, message: bytes) -> None:
    url = webhook
    if isinstance(url, SecretReference):
        try:
            url = check_webhook(outside.secret(url))
        except ValueError as error:
            raise ConfigurationError(str(error), key="alerts.webhook") from None
    with Body.of(message) as body:
        reply = outside.engine.send(
            "POST", url, headers={"Content-Type": "application/json"}, body=body, total_s=TIMEOUT_S
        )
    if not 200 <= reply.status < 300:
        raise Transient(f"the webhook answered {reply.status}")


def _run(command: Sequence[str], message: bytes) -> None:
    """Run the command with the alert on its standard input. What it prints is nobody's: it may hold secrets."""
    try:
        process = subprocess.Popen(  # noqa: S603 - the person's own command, without a shell
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise Transient(f"the command of alerts cannot be started: {error.strerror}") from error
    with process:
        try:
            process.communicate(message, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its children too
            raise Transient(f"the command of alerts did not end within {TIMEOUT_S:.0f} s") from None
    if process.returncode:
        raise Transient(f"the command of alerts exited with {process.returncode}")
