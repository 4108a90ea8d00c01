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
