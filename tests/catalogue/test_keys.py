"""Keys that were refused: what is news, what stands, and when it is over."""

from datetime import timedelta
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue
from archiver.core.alerting import Facts, RefusedKeys, conditions
from archiver.core.errors import Unusable
from archiver.core.news import KeyNews
from archiver.wiring.key_watch import KeyWatch
from tests.catalogue.filling import HOUR, NOW, ask, opened

ONE = KeyNews(provider="apiyi", reference="env:ONE", refused=True, keys=2)
TWO = KeyNews(provider="apiyi", reference="env:TWO", refused=True, keys=2)
FINE = KeyNews(provider="apiyi", reference="env:ONE", refused=False, keys=2)


def test_a_refused_key_stands_until_it_works_or_a_day_has_passed(catalogue: Catalogue) -> None:
    assert catalogue.keys.refused(NOW) == ()
    assert catalogue.keys.hear(ONE, NOW)
    assert catalogue.keys.refused(NOW) == (RefusedKeys(provider="apiyi", keys=("env:ONE",), of=2),)
    assert catalogue.keys.refused(NOW + 24 * HOUR) != ()
    assert catalogue.keys.refused(NOW + 25 * HOUR) == ()
    assert catalogue.keys.hear(FINE, NOW + HOUR)
    assert catalogue.keys.refused(NOW + HOUR) == ()


def test_an_hour_of_refusals_is_one_event_and_success_is_none(catalogue: Catalogue) -> None:
    assert not catalogue.keys.hear(FINE, NOW)
    assert catalogue.keys.hear(ONE, NOW)
    assert not catalogue.keys.hear(ONE, NOW + timedelta(minutes=59))
    assert catalogue.keys.hear(ONE, NOW + HOUR)
    assert catalogue.keys.hear(TWO, NOW + HOUR)
    assert catalogue.keys.hear(FINE, NOW + HOUR)
    assert not catalogue.keys.hear(FINE, NOW + HOUR)
    kinds = [kind for (kind,) in ask(catalogue, "select kind from events order by id")]
    assert kinds == ["key-refused", "key-refused", "key-refused", "key-works"]


def test_no_key_is_written_down(catalogue: Catalogue) -> None:
    catalogue.keys.hear(ONE, NOW)
    ((detail,),) = ask(catalogue, "select detail from events")
    assert detail == '{"provider": "apiyi", "key": "env:ONE", "keys": 2}'


@pytest.mark.parametrize(
    ("keys", "level", "words"),
    [(("env:ONE",), "warn", "refused 1 of 2 keys (env:ONE)"), (("env:ONE", "env:TWO"), "page", "refused every key")],
)
def test_one_of_several_warns_and_all_of_them_page(keys: tuple[str, ...], level: str, words: str) -> None:
    facts = Facts(keys=(RefusedKeys(provider="apiyi", keys=keys, of=2),))
    (alert,) = conditions(facts, NOW, spool_max=1)
    assert (alert.kind, alert.subject, alert.level) == ("key", "apiyi", level)
    assert words in alert.text


def test_the_catalogue_hears_of_a_working_key_once_a_process(tmp_path: Path) -> None:
    catalogue = opened(tmp_path)
    heard: list[KeyNews] = []
    hear = catalogue.keys.hear

    def listening(news: KeyNews, now):
        heard.append(news)
        return hear(news, now)

    catalogue.keys.hear = listening  # type: ignore[method-assign]
    watch = KeyWatch(catalogue, lambda: NOW)
    for news in (FINE, FINE, ONE, FINE, FINE):
        watch(news)
    assert heard == [FINE, ONE, FINE]
    catalogue.close()


def test_a_catalogue_in_trouble_stands_in_nobodys_way(tmp_path: Path) -> None:
    """The thread that tells of a key has just paid: it must go on."""
    catalogue = opened(tmp_path)

    def broken(news: KeyNews, now):
        raise Unusable("the disk is full")

    catalogue.keys.hear = broken  # type: ignore[method-assign]
    KeyWatch(catalogue, lambda: NOW)(ONE)
    catalogue.close()


def test_the_question_of_every_half_minute_reads_only_events_of_keys(catalogue: Catalogue) -> None:
    plan = ask(
        catalogue,
        "explain query plan select 1 from events where kind in ('key-refused', 'key-works') and at >= '2026'",
    )
    assert any("events_keys" in str(step) for step in plan)
