"""Templates and picks: a product has every combination once, and each way of picking covers what it should."""

import itertools
import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.core.model import Wish
from archiver.prompts import Entry, Pick, Pool, is_name

# The deadline would make a slow machine a failure; what failed is printed with its seed.
always = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
TICK = datetime(2026, 11, 20, 20, 30, tzinfo=UTC)  # in Shanghai it is the 21st
NAMES = ["animal", "style", "place"]
LISTS = st.fixed_dictionaries(
    {name: st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True) for name in NAMES}
)


def pool(*prompts: str, lists: dict[str, list[str]] | None = None, is_template: bool = True) -> Pool:
    entries = [Entry(f"prompts[{index}]", Wish(prompt=prompt)) for index, prompt in enumerate(prompts)]
    return Pool.of(entries, lists=lists or {}, zone="Asia/Shanghai", is_template=is_template)


def picked(
    made: Pool, pick: Pick = "all", count: int = 1, *, job: str = "cats", tick: datetime = TICK, number: int = 0
) -> list[str]:
    return [wish.prompt for wish in made.pick(pick, count, job=job, tick=tick, number=number)]


# --- templates ------------------------------------------------------------------------------------------------------


@always
@given(LISTS, st.lists(st.lists(st.sampled_from(NAMES), max_size=4), min_size=1, max_size=3))
def test_a_prompt_stands_for_the_product_of_the_lists_that_it_names(
    lists: dict[str, list[str]], prompts: list[list[str]]
) -> None:
    """As many as the product, each combination once, the last list fastest; a list named twice counts once."""
    made = pool(*("|".join(f"{{{name}}}" for name in named) or "none" for named in prompts), lists=lists)
    expected = []
    for named in prompts:
        once = list(dict.fromkeys(named))
        for values in itertools.product(*(lists[name] for name in once)):
            chosen = dict(zip(once, values, strict=True))
            expected.append("|".join(chosen[name] for name in named) or "none" * (not named))
    assert picked(made) == expected
    assert made.count == len(expected) == sum(math.prod(len(lists[name]) for name in set(named)) for named in prompts)


@always
@given(st.text())
def test_doubled_braces_are_braces_and_values_are_put_in_as_they_are(text: str) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert picked(pool(escaped + "{animal}", lists={"animal": [text, "{n}"]})) == [text + text, text + "{n}"]


@always
@given(st.text(min_size=1))
def test_without_templates_braces_mean_nothing(text: str) -> None:
    assert picked(pool(text, is_template=False)) == [text]


def test_date_and_number_are_those_of_the_tick_where_the_job_lives() -> None:
    made = pool("{n}. {date} / {date:%Y年%m月, week %V} / {date:%H:%M 100%%}")
    assert picked(made, number=6) == ["7. 2026-11-21 / 2026年11月, week 47 / 04:30 100%"]


def test_the_companions_of_a_prompt_stay_with_each_of_its_fillings() -> None:
    entry = Entry("p.csv:2", Wish(prompt="{动物}", n=3, tags=("x",), parameters={"quality": "high"}))
    made = Pool.of([entry], lists={"动物": ["猫", "狐"]}, zone="UTC", is_template=True)
    wishes = made.pick("all", 1, job="cats", tick=TICK, number=0)
    assert wishes == [Wish(prompt=prompt, n=3, tags=("x",), parameters={"quality": "high"}) for prompt in ("猫", "狐")]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a {anmal}", 'prompts[1]: unknown word "{anmal}"; did you mean "animal"?'),
        ("a {}", 'prompts[1]: unknown word "{}"; known here: date, n, animal'),
        ("a {animal", "prompts[1]: a { stands alone; write {{ for a brace"),
        ("a } b", "prompts[1]: a } stands alone; write }} for a brace"),
        ('{"style": {"x": 1}}', "prompts[1]: a { stands alone"),
        ("{n:03}", 'prompts[1]: "{n}" takes nothing behind a colon'),
        ("{date:%Q}", 'prompts[1]: "%Q" is no part of a date; there are %Y %m %d'),
        ("{date:50%}", 'prompts[1]: "%" is no part of a date'),
    ],
)
def test_a_template_that_cannot_be_understood_is_named(prompt: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"prompts\[1\]") as caught:
        pool("{animal}", prompt, "{{}}", lists={"animal": ["cat"]})
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_lists_have_names_that_mean_nothing_else() -> None:
    assert [name for name in ("animal", "动物", "a_1", "date", "n", "1a", "a b", "a:b", "") if is_name(name)] == [
        "animal",
        "动物",
        "a_1",
    ]


# --- picks ----------------------------------------------------------------------------------------------------------


@always
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 1000))
def test_next_goes_round_and_round(size: int, count: int, start: int) -> None:
    """Tick after tick, with no gap and no repetition within a round."""
    made = pool(*map(str, range(size)))
    ticks = [picked(made, "next", count, number=start + step) for step in range(size)]
    assert all(len(tick) == min(count, size) == len(set(tick)) for tick in ticks)
    if count <= size:
        told = [int(prompt) for tick in ticks for prompt in tick]
        assert told == [(start * count + step) % size for step in range(len(told))]


@always
@given(
    st.integers(1, 30),
    st.integers(1, 40),
    st.text(max_size=5),
    st.integers(0, 4 * 10**9),
)
def test_random_draws_the_same_again_and_nothing_twice(size: int, count: int, job: str, second: int) -> None:
    tick, made = datetime.fromtimestamp(second, UTC), pool(*map(str, range(size)))
    drawn = picked(made, "random", count, job=job, tick=tick)
    elsewhere = tick.astimezone(ZoneInfo("Asia/Shanghai"))
    assert drawn == picked(made, "random", count, job=job, tick=elsewhere, number=9)
    assert len(set(drawn)) == len(drawn) == min(count, size)
    assert drawn == sorted(drawn, key=int)


def test_random_covers_the_pool_evenly_and_differs_between_jobs_and_ticks() -> None:
    """Deterministic: 4,000 ticks of this job draw each of ten prompts 1,200 times, give or take 150 (five sigma)."""
    made = pool(*map(str, range(10)))
    ticks = [TICK + timedelta(hours=step) for step in range(4000)]
    draws = [picked(made, "random", 3, tick=tick) for tick in ticks]
    counts = [sum(str(place) in drawn for drawn in draws) for place in range(10)]
    assert all(1050 < count < 1350 for count in counts), counts
    assert draws != [picked(made, "random", 3, job="dogs", tick=tick) for tick in ticks]


def test_what_is_drawn_does_not_change_with_a_release() -> None:
    """A restart with a newer archiver must not ask anew: this draw is for ever."""
    assert picked(pool(*map(str, range(1000))), "random", 3) == ["356", "832", "868"]


def test_a_pool_larger_than_any_memory_is_counted_and_picked_from() -> None:
    lists = {f"list{number}": [str(value) for value in range(1000)] for number in range(10)}
    made = pool("".join(f"{{{name}}}." for name in lists), lists=lists)
    assert made.count == made.asked("all", 1) == 1000**10
    assert picked(made, "next", 2, number=500) == ["0.0.0.0.0.0.0.0.1.0.", "0.0.0.0.0.0.0.0.1.1."]
    assert len(picked(made, "random", 5)) == made.asked("random", 5) == 5
