"""What stands: one image's story, lists and numbers; and no answer holds a temporary URL."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from archiver.catalogue import Catalogue, Settlement, as_text
from archiver.core.model import Evidence
from tests.catalogue.filling import (
    HOUR,
    NOW,
    arrival,
    claim_one,
    completed,
    draft,
    image_row,
    no,
    opened,
    raw,
    receipts,
    safe,
    signed,
)


def test_story_of_one_image(catalogue: Catalogue) -> None:
    """Its row, its generation, its copies, its events in order, and the evidence for its deadline."""
    evidence = (Evidence(source="url", at=NOW + 168 * HOUR, detail="U03"),)
    completed(
        catalogue,
        arrival(evidence=evidence, revised_prompt="a nicer fox"),
        n=2,
        tags=("动物",),
        metadata={"seed": 7},
        size="2K",
    )
    catalogue.images.settle([no(claim_one(catalogue))], NOW)
    story = catalogue.reports.image("i0")
    assert story is not None
    assert (story["state"], story["error"], story["attempts"], story["prompt"]) == ("pending", "404", 1, "a fox 0")
    assert (story["revised_prompt"], story["source"]) == ("a nicer fox", str(signed(0)))
    assert story["evidence"] == [
        {"source": "url", "at": as_text(NOW + 168 * HOUR), "detail": "U03", "lower_bound": False}
    ]
    assert [(copy["store"], copy["state"]) for copy in story["copies"]] == [("here", "wanted"), ("there", "wanted")]
    assert [event["kind"] for event in story["events"]] == ["short", "postponed"]
    generation = story["generation"]
    assert (generation["n"], generation["size"], generation["state"]) == (2, "2K", "completed")
    assert (generation["tags"], generation["metadata"], generation["cost_usd"]) == (["动物"], {"seed": 7}, None)
    assert catalogue.reports.image("nobody") is None


def test_lists_of_images_can_be_narrowed(catalogue: Catalogue) -> None:
    """By state and job; the newest first."""
    completed(catalogue, arrival(0), number=0)
    completed(catalogue, arrival(1), number=1, job="daily", origin="job")
    catalogue.images.settle([safe(claim_one(catalogue, generations=["g0"]))], NOW)

    def listed(**options: Any) -> list[str]:
        return [row["image_id"] for row in catalogue.reports.images(**({"limit": 10} | options))]

    assert listed() == ["i1", "i0"]
    assert listed(limit=1) == ["i1"]
    assert listed(states=["stored"]) == ["i0"]
    assert listed(states=["stored", "pending"]) == ["i1", "i0"]
    assert listed(states=["lost"]) == []
    assert listed(job="daily") == ["i1"]
    assert listed(job="daily", states=["stored"]) == []


def test_how_generations_stand(catalogue: Catalogue) -> None:
    """The numbers that a progress line shows."""
    completed(catalogue, arrival(0), arrival(1, index=1), arrival(2, index=2), number=0)
    catalogue.generations.add([draft(1), draft(2, job="daily")], NOW)
    tickets = catalogue.images.claim("worker", NOW, HOUR, limit=2)
    catalogue.images.settle([safe(tickets[0]), no(tickets[1])], NOW)
    assert catalogue.images.lose(tickets[1].image_id, NOW)
    first, second = catalogue.reports.under_way(["g1", "g0", "nobody"])
    assert (first["generation_id"], first["images"], first["stored"], first["waiting"], first["lost"]) == (
        "g0",
        3,
        1,
        1,
        1,
    )
    assert (second["generation_id"], second["state"], second["images"]) == ("g1", "planned", 0)
    assert catalogue.reports.open_generations(["apiyi"]) == ["g1", "g2"]
    assert catalogue.reports.open_generations(["apiyi"], "daily") == ["g2"]
    assert catalogue.reports.open_generations(["another"]) == []


def test_jobs_with_their_ticks(catalogue: Catalogue) -> None:
    catalogue.ticks.see_job("daily", "0 9 * * *", NOW)
    catalogue.ticks.see_job("new", "0 9 * * *", NOW)
    catalogue.ticks.plan("daily", NOW, [], NOW)
    catalogue.ticks.plan("daily", NOW + HOUR, [], NOW)
    ticks = catalogue.reports.last_ticks()
    assert (ticks["daily"]["last_tick"], ticks["daily"]["ticks"]) == (as_text(NOW + HOUR), 2)
    assert (ticks["new"]["last_tick"], ticks["new"]["ticks"]) == (None, 0)
    assert ticks["new"]["first_seen_at"] == as_text(NOW)


def test_status_of_nothing(catalogue: Catalogue) -> None:
    status = catalogue.reports.status(NOW)
    assert status["images"] == status["generations"] == status["copies"] == {}
    assert (status["at_risk"], status["unknown_generations"], status["stored_last_24h"]) == (0, 0, 0)
    assert status["nearest_deadline"] is status["oldest_unarchived"] is None


def test_status_counts_what_stands(catalogue: Catalogue) -> None:
    """By state and store; half of its time over is at risk; the last day by the time of archiving."""
    completed(catalogue, *(arrival(number, index=number, deadline=NOW + (number + 1) * HOUR) for number in range(4)))
    catalogue.generations.add([draft("doubt")], NOW)
    catalogue.generations.begin_submit("apiyi", "me", NOW)
    catalogue.generations.doubt("gdoubt", "me", "timeout", NOW)
    old, new = catalogue.images.claim("worker", NOW, HOUR, limit=2)
    catalogue.images.settle([safe(old)], NOW - timedelta(days=2))
    catalogue.images.settle([safe(new, receipts=receipts(new))], NOW)
    status = catalogue.reports.status(NOW + 1.5 * HOUR)
    assert status["images"] == {"stored": 2, "pending": 2}
    assert status["generations"] == {"completed": 1, "unknown": 1}
    assert status["copies"] == {"here": 2, "there": 2}
    assert (status["nearest_deadline"], status["oldest_unarchived"]) == (as_text(NOW + 3 * HOUR), as_text(NOW))
    assert (status["unknown_generations"], status["stored_last_24h"], status["bytes_last_24h"]) == (1, 1, 68)
    assert status["at_risk"] == 1
    assert catalogue.reports.status(NOW + HOUR)["at_risk"] == 0
    assert catalogue.reports.status(NOW + 2 * HOUR)["at_risk"] == 2


def test_no_answer_holds_a_temporary_url(tmp_path: Path) -> None:
    """Every report and every view, with a pending, a spooled, a stored and a lost image in the catalogue."""
    catalogue = opened(tmp_path)
    secret = "needle"
    arrivals = [arrival(number, index=number, url=signed(number, secret)) for number in range(4)]
    completed(catalogue, *arrivals)
    tickets = catalogue.images.claim("worker", NOW, HOUR, limit=4)
    rescued = Settlement(ticket=tickets[1], spooled="i1.png", error="here: down")
    catalogue.images.settle([no(tickets[0]), rescued, safe(tickets[2]), no(tickets[3])], NOW)
    assert catalogue.images.lose("i3", NOW)
    assert [image_row(catalogue, f"i{number}")["state"] for number in range(4)] == [
        "pending",
        "spooled",
        "stored",
        "lost",
    ]
    reports = catalogue.reports
    answers: list[Any] = [reports.image(f"i{number}") for number in range(4)]
    answers += [reports.images(limit=9), reports.lineage("fox"), reports.lineage("i2"), reports.under_way(["g0"])]
    answers += [reports.status(NOW), catalogue.records.of([f"i{number}" for number in range(4)])]
    answers += [
        [dict(row) for row in raw(catalogue).execute(f"select * from {view}").fetchall()]
        for view in ("lineage", "at_risk", "spend", "losses")
    ]
    text = json.dumps(answers)
    assert "bucket.oss-cn-hangzhou.aliyuncs.com/0.png" in text
    assert secret not in text
    assert "OSSAccessKeyId" not in text
    catalogue.close()
