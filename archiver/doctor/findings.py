"""What the doctor says: one finding per check, each a line with what to do about it.

It refuses to let anything escape: a check that breaks becomes a finding itself, and no text leaves without secrets
being taken out of it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from archiver.core.redaction import redact

Verdict = Literal["ok", "warn", "bad"]

#: What a bad finding means for the exit code, as the command line promises it.
GOES_ON, CONFIGURATION, STOPS = 1, 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check of one subject came to. `advice` says what to do, and is empty when all is well; `code` is the
    exit code that it asks for."""

    subject: str
    check: str
    verdict: Verdict
    text: str
    advice: str = ""
    code: int = 0


def ok(subject: str, check: str, text: str) -> Finding:
    """All is well."""
    return Finding(subject=subject, check=check, verdict="ok", text=text)


def warn(subject: str, check: str, text: str, advice: str) -> Finding:
    """It works, and somebody should know."""
    return Finding(subject=subject, check=check, verdict="warn", text=text, advice=advice)


def bad(subject: str, check: str, text: str, advice: str, code: int = GOES_ON) -> Finding:
    """Something does not work."""
    return Finding(subject=subject, check=check, verdict="bad", text=text, advice=advice, code=code)


def kept(subject: str, check: str, examine: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """All that `examine` finds; what it raises is found too."""
    try:
        yield from examine()
    except Exception as error:  # noqa: BLE001 - a doctor that breaks says so, and goes on to the next patient
        yield bad(
            subject,
            check,
            f"the check itself broke off: {type(error).__name__}",
            "this is a fault of archiver's: please report it, with this line",
        )


def veiled(finding: Finding, secrets: Collection[str]) -> Finding:
    """The finding without secrets: the known ones, and in the text whatever else looks like one."""
    text, advice = finding.text, finding.advice
    for secret in sorted((one for one in secrets if len(one) >= 4), key=len, reverse=True):
        text, advice = text.replace(secret, "[redacted]"), advice.replace(secret, "[redacted]")
    # A complaint about the configuration names keys and quotes no value: redaction would take "api_key: ..." for one.
    return replace(finding, text=text if finding.code == CONFIGURATION else redact(text), advice=advice)
