"""A catalogue that the first release made keeps its rows and gets budgets and the operator's way back."""

from pathlib import Path

import pytest
from sqlite_utils import Database

from archiver.catalogue.migrations import migrations
from tests.catalogue.filling import FILE, NOW, ask, opened, raw, sqlite, whole


def test_a_catalogue_of_the_first_release_is_brought_up_to_date(tmp_path: Path) -> None:
    """An unknown generation of then has no expected price, and can be retried now; nothing else may go back."""
    connection = sqlite.connect(tmp_path / FILE)
    migrations.apply(Database(connection), stop_before="m002_budgets")
    connection.execute("pragma application_id=1095910216")
    connection.execute(
        "insert into generations (id, origin, prompt, stores, state, created_at)"
        " values ('old', 'generate', 'a fox', '[]', 'planned', '2026-11-20T09:00:00.000Z')"
    )
    for state in ("submitted", "unknown"):
        connection.execute("update generations set state = ?", (state,))
    connection.commit()
    connection.close()

    catalogue = opened(tmp_path)
    (row,) = catalogue.outcomes.generations(states=("unknown",), limit=10)
    assert (row["generation_id"], row["price_usd"], row["written_off_at"]) == ("old", None, None)
    assert catalogue.reports.status(NOW)["unknown_without_price"] == 1
    assert catalogue.outcomes.retry("old", "again", NOW)
    assert ask(catalogue, "select state, charged_to, held from generations") == [("planned", "[]", 0)]
    raw(catalogue).execute("update generations set state = 'cancelled'")
    with pytest.raises(sqlite.IntegrityError, match="has no such transition"):
        raw(catalogue).execute("update generations set state = 'planned'")
    assert whole(catalogue)
    catalogue.close()


def test_images_that_came_before_they_were_counted_are_counted(tmp_path: Path) -> None:
    """A backfilled generation was paid elsewhere, and an unanswered one has none: neither gets a number."""
    connection = sqlite.connect(tmp_path / FILE)
    migrations.apply(Database(connection), stop_before="m006_requests")
    connection.execute("pragma application_id=1095910216")
    moment = "'2026-11-20T09:00:00.000Z'"
    for name, sent in (("two", moment), ("taken-in", "null")):
        connection.execute(
            "insert into generations (id, origin, prompt, stores, n, state, created_at, submitted_at)"
            f" values ('{name}', 'generate', 'a fox', '[]', 3, 'completed', {moment}, {sent})"
        )
        for index in range(2):
            connection.execute(
                "insert into images (id, generation_id, idx, state, deadline, deadline_from, give_up_at, created_at)"
                f" values ('{name}-{index}', '{name}', {index}, 'pending', {moment}, 'default', {moment}, {moment})"
            )
    connection.commit()
    connection.close()

    catalogue = opened(tmp_path)
    assert ask(catalogue, "select id, came from generations order by id") == [("taken-in", None), ("two", 2)]
    (claim,) = catalogue.costs.unrewarded(NOW)
    assert (claim["generation_id"], claim["what"], claim["images"], claim["n"]) == ("two", "short", 2, 3)
    catalogue.close()
