"""What the environment sets, and what a wrong configuration is told: the place, what to write, never a value."""

import random
from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pydantic import Field, field_validator

from archiver.config import describe, load, validate_section
from archiver.config.sections import ProviderSection, StoreSection
from archiver.core.errors import ConfigurationError
from archiver.core.model import SecretReference
from archiver.settings import Duration, Reference, Section
from tests.shells.configuring import SHIPPED, SMALL, complaint, configured, uncommented

#: Every kind of provider and scheme of store, with the keys that its sections may have.
ADAPTERS = [
    (section, point.name, (*point.load().Settings.model_fields, *of_all.model_fields))
    for section, of_all in (("providers", ProviderSection), ("stores", StoreSection))
    for point in entry_points(group=f"archiver.{section}")
]


# --- what a wrong file is told --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[archiver]", "[archivr]", 'archivr: unknown setting; did you mean "archiver"?'),
        ("zone =", "zoen =", 'archiver.zoen: unknown setting; did you mean "zone"?'),
        ("schedule =", "scedule =", 'jobs.daily-cats.scedule: unknown setting; did you mean "schedule"?'),
        ("schedule =", "scedule =", "jobs.daily-cats.schedule: is missing"),
        ("schedule =", "#", "jobs.daily-cats.schedule: is missing"),
        ('kind = "images"', "", "providers.apiyi.kind: is missing"),
        ('kind = "images"', 'kind = ""', "providers.apiyi.kind: is empty"),
        ('url = "file:///srv/images"', "", "stores.main.url: is missing"),
        ("file:///srv/images", "/srv/images", "stores.main.url: is no store"),
        ("file:///srv/images", "file://srv/images", "stores.main.url: names a host"),
        (
            "Asia/Shanghai",
            "Asia/Shangai",
            'archiver.zone: "Asia/Shangai" is no time zone; did you mean "Asia/Shanghai"?',
        ),
        ("0 9 * * *", "0 9 * *", 'jobs.daily-cats.schedule: "0 9 * *" is no schedule; write'),
        ("0 9 * * *", "every 10", "jobs.daily-cats.schedule: "),
        ('"apiyi"', '"apiy"', 'jobs.daily-cats.provider: unknown provider "apiy"; did you mean "apiyi"?'),
        ("prompts =", 'stores = ["mian"]\nprompts =', 'unknown store "mian"; did you mean "main"?'),
        ("prompts =", "stores = []\nprompts =", "jobs.daily-cats.stores: names no store"),
        ("prompts =", 'stores = ["main", "main"]\nprompts =', "jobs.daily-cats.stores: names a store twice"),
        ("[stores.main]", '[stores.b]\nurl = "s3://b"\n[stores.main]', "with one or more of: b, main"),
        ('["a cat"]', '"a cat"', "jobs.daily-cats.prompts: should be a list"),
        ('["a cat"]', "[]", "jobs.daily-cats.prompts: is empty"),
        ('["a cat"]', '["a cat", " "]', "jobs.daily-cats.prompts[1]: is an empty prompt"),
        ('["a cat"]', '["a\\u0000cat"]', "jobs.daily-cats.prompts[0]: holds a NUL"),
        ("prompts =", 'pick = "nxt"\nprompts =', "jobs.daily-cats.pick: should be 'all', 'next' or 'random'"),
        ("prompts =", "pik = 1\nprompts =", 'jobs.daily-cats.pik: unknown setting; did you mean "pick"?'),
        ("prompts =", "pick_count = 2\nprompts =", "jobs.daily-cats: pick_count goes with pick"),
        ("prompts =", "most_prompts = 0\nprompts =", "jobs.daily-cats.most_prompts: should be greater"),
        ("prompts =", 'template = "yes"\nprompts =', "jobs.daily-cats.template: should be true or false"),
        ("prompts =", 'lists = { n = ["a"] }\nprompts =', "jobs.daily-cats.lists.n: the name of a list has"),
        ("prompts =", 'lists = { a = "cat" }\nprompts =', "jobs.daily-cats.lists.a: should be a list of texts"),
        ("prompts =", "lists = { a = [1] }\nprompts =", "jobs.daily-cats.lists.a: should be a list of texts"),
        ("prompts =", "lists = { a = [] }\nprompts =", "jobs.daily-cats.lists.a: is empty"),
        ("prompts =", 'lists = { a = [" "] }\nprompts =', "jobs.daily-cats.lists.a: holds an empty text"),
        ("prompts =", 'lists = { a = "file:" }\nprompts =', "jobs.daily-cats.lists.a: is no path"),
        ("prompts =", 'template = false\nlists = { a = ["b"] }\nprompts =', "jobs.daily-cats: lists are for templates"),
        ('prompts = ["a cat"]', "", "jobs.daily-cats: write either prompts"),
        ("prompts =", 'prompts_file = "p"\nprompts =', "jobs.daily-cats: write either prompts"),
        ('"daily-cats"', '"Daily Cats"', "jobs[0].name: a name has only a-z"),
        ("[stores.main]", "[stores.My_Store]", "stores.My_Store: a name has only a-z"),
        ("prompts =", "n = 0\nprompts =", "jobs.daily-cats.n: should be greater than or equal to 1"),
        ("prompts =", "n = 11\nprompts =", "jobs.daily-cats.n: should be less than or equal to 10"),
        ("prompts =", 'n = "3"\nprompts =', "jobs.daily-cats.n: should be a whole number"),
        ("prompts =", "n = true\nprompts =", "jobs.daily-cats.n: should be a whole number"),
        ("prompts =", 'enabled = "no"\nprompts =', "jobs.daily-cats.enabled: should be true or false"),
        ("prompts =", 'size = "2048*2048"\nprompts =', "jobs.daily-cats.size: is no size"),
        ("prompts =", 'size = "2048"\nprompts =', "jobs.daily-cats.size: is no size"),
        ("prompts =", 'catch_up = "never"\nprompts =', "jobs.daily-cats.catch_up: should be 'once', 'all' or 'skip'"),
        ("prompts =", 'zone = "Mars"\nprompts =', 'jobs.daily-cats.zone: "Mars" is no time zone'),
        ("[archiver]", "[archiver]\ncopies = 0", "archiver.copies: should be greater"),
        ("[archiver]", '[archiver]\ndata_dir = ""', "archiver.data_dir: is no path"),
        ("[archiver]", '[archiver]\nkey_template = "{sha256}"', "archiver.key_template: "),
        ("[archiver]", '[archiver]\nkey_template = "{id:4}"', "archiver.key_template: "),
        ("[archiver]", '[archiver]\nkey_template = "{id}{day}"', "archiver.key_template: unknown field"),
        ("[archiver]", '[archiver]\nkey_template = "{id"', "archiver.key_template: "),
        ("[archiver]", '[fetch]\nallow_cidrs = ["10.0.0"]\n[archiver]', "fetch.allow_cidrs[0]: is no network"),
        ("[archiver]", '[fetch]\nmax_bytes = "100"\n[archiver]', "fetch.max_bytes: is no size; write a number with B"),
        ("[archiver]", '[network]\nproxy = "localhost:80"\n[archiver]', "network.proxy: is no proxy"),
        ("[[jobs]]", "[jobs]", "jobs: should be a list"),
        ("[providers.apiyi]", "[providers]\napiyi = 3\n[x]", "providers.apiyi: should be a table"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_to_write(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SMALL
    said = complaint(tmp_path, SMALL.replace(old, new, 1))
    assert message in said
    assert str(tmp_path / "archiver.toml") in said


def test_two_jobs_of_one_name_are_refused(tmp_path: Path) -> None:
    job = SMALL[SMALL.index("[[jobs]]") :]
    assert 'jobs: two jobs are called "daily-cats"' in complaint(tmp_path, SMALL + job)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = SMALL.replace("zone =", "zoen =").replace('"apiyi"\n', '"nobody"\n').replace("prompts =", "n = 0\nprompts =")
    said = complaint(tmp_path, text, {"ARCHIVER_FETCH__MAX_BYTE": "1", "ARCHIVER_FOO": "1"})
    assert said.startswith(f"5 errors (in {tmp_path / 'archiver.toml'})\n")
    for key in ("archiver.zoen", "jobs.daily-cats.provider", "jobs.daily-cats.n", "fetch.max_byte", "ARCHIVER_FOO"):
        assert f"\n  {key}: " in said


def test_broken_toml_is_told_with_its_line(tmp_path: Path) -> None:
    assert "line 3" in complaint(tmp_path, '[archiver]\nzone = "UTC"\ndata_dir = oops\n')


@pytest.mark.parametrize(("content", "message"), [("[archiver]\n".encode("utf-16"), "UTF-8"), (None, "cannot read")])
def test_an_unreadable_file_is_told(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "archiver.toml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(path, {}, "UTC")
    assert str(path) in str(caught.value)


def test_a_thousand_damaged_files_give_a_configuration_error_or_load(tmp_path: Path) -> None:
    """Nothing but ConfigurationError comes out, whatever was lost, doubled or mistyped."""
    seed = random.SystemRandom().randrange(10**9)
    print("seed", seed)
    rng = random.Random(seed)
    whole = uncommented(SHIPPED.read_text(encoding="utf-8"))
    lines = [line for line in whole.splitlines() if line and not line.startswith("# ")]
    values = ["0", "-1", "true", '""', '"x"', "[]", "[1]", '{ a = "b" }', "1.5", "2026-12-01", '"env:X"', "nan", "[[]]"]
    messages: list[str] = []
    for _ in range(1000):
        damaged = list(lines)
        place = rng.randrange(len(damaged))
        match rng.randrange(4):
            case 0:
                del damaged[place]
            case 1:
                damaged.insert(place, damaged[rng.randrange(len(damaged))])
            case 2:
                damaged[place] = damaged[place].partition("=")[0] + "= " + rng.choice(values)
            case _:
                at = rng.randrange(len(damaged[place]))
                damaged[place] = damaged[place][:at] + rng.choice('xX="[].#1') + damaged[place][at + 1 :]
        try:
            config = configured(tmp_path, "\n".join(damaged))
        except ConfigurationError as error:
            messages.append(str(error))
        else:
            assert describe(config)
    assert all(str(tmp_path) in message for message in messages)
    assert len(messages) > 300


# --- the environment ------------------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        SMALL.replace("[stores.main]", '[stores.my-bucket]\nurl = "s3://old"\n[stores.main]').replace(
            "prompts =", 'stores = ["main"]\nprompts ='
        ),
        {
            "ARCHIVER_ARCHIVER__DATA_DIR": "/var/lib/archiver",
            "ARCHIVER_ARCHIVER__COPIES": "8",
            "archiver_archiver__zone": "Europe/Berlin",
            "ARCHIVER_FETCH__ALLOW_CIDRS": "127.0.0.1, 10.1.2.3/8,::1",
            "ARCHIVER_PROVIDERS__APIYI__MODEL": "gpt-image-2",
            "ARCHIVER_PROVIDERS__OTHER_ONE__KIND": "sandbox",
            "ARCHIVER_STORES__MY_BUCKET__URL": "s3://new/archive",
            "ARCHIVER_STORES__MY_BUCKET__HEADERS": '{ "x-amz-storage-class" = "GLACIER_IR" }',
            "ARCHIVER_NETWORK__PROXY": "",
            "ARCHIVER_CONFIG": "elsewhere",
            "ARCHIVER_TEST_OSS": "1",
            "_ARCHIVER_COMPLETE": "bash_source",
            "PATH": "/bin",
        },
    )
    assert (config.archiver.data_dir, config.archiver.copies) == (Path("/var/lib/archiver"), 8)
    assert config.jobs[0].zone == "Europe/Berlin"
    assert config.fetch.allow_cidrs == ("127.0.0.1/32", "10.0.0.0/8", "::1/128")
    assert config.providers["apiyi"].settings == {"api_key": "env:APIYI_API_KEY", "model": "gpt-image-2"}
    assert config.providers["other-one"].kind == "sandbox"
    assert config.stores["my-bucket"].settings == {
        "url": "s3://new/archive",
        "headers": {"x-amz-storage-class": "GLACIER_IR"},
    }
    assert config.network.proxy is None
    assert configured(tmp_path, SMALL, {"ARCHIVER_FETCH__ALLOW_CIDRS": '["::1"]'}).fetch.allow_cidrs == ("::1/128",)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ARCHIVER_DATA_DIR", "x", "ARCHIVER_DATA_DIR: unknown variable of the environment; did you mean ARCHIVER"),
        ("ARCHIVER_COPIES", "8", "did you mean ARCHIVER_ARCHIVER__COPIES?"),
        ("ARCHIVER_CONFG", "x", "did you mean ARCHIVER_CONFIG?"),
        ("ARCHIVER_STORE__MAIN__URL", "x", "did you mean ARCHIVER_STORES__MAIN__URL?"),
        ("ARCHIVER_XYZZY", "x", "write ARCHIVER_<SECTION>__<KEY>"),
        ("ARCHIVER_JOBS__DAILY__N", "3", "jobs cannot be set by the environment"),
        ("ARCHIVER_FETCH__ALOW_CIDRS", "x", 'did you mean "allow_cidrs"? (from ARCHIVER_FETCH__ALOW_CIDRS)'),
        ("ARCHIVER_PROVIDERS__APIY__MODEL", "x", "apiy.kind: is missing (from ARCHIVER_PROVIDERS__APIY__MODEL)"),
        ("ARCHIVER_ARCHIVER__COPIES", "many", "should be a whole number (from ARCHIVER_ARCHIVER__COPIES)"),
        ("ARCHIVER_STORES__MAIN__HEADERS", "{ a = ", "begins like a TOML value but is none"),
        ("ARCHIVER_STORES__MAIN__HEADERS", '["a"]\nb = 1', "begins like a TOML value but is none"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, message: str) -> None:
    assert message in complaint(tmp_path, SMALL, {variable: value})


# --- adapters' sections ---------------------------------------------------------------------------------------------


class Settings(Section):
    """What an adapter may have."""

    model: str
    api_key: Reference
    lifetime: Duration = timedelta(days=7)
    concurrency: int = Field(default=16, ge=1)
    headers: dict[str, str] = Field(default_factory=dict)

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        if " " in model:
            raise ValueError("has a space")
        return model


GOOD = {"model": "nano-banana-pro", "api_key": "env:KEY", "lifetime": "7d"}


def test_an_adapters_section_becomes_its_settings() -> None:
    settings = validate_section(Settings, GOOD, path="providers.apiyi")
    assert (settings.lifetime, settings.api_key) == (timedelta(days=7), SecretReference("env:KEY"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modle": "x"}, 'providers.apiyi.modle: unknown setting; did you mean "model"?'),
        ({"xyzzy": "x"}, "unknown setting; known here: model, api_key, lifetime, concurrency, headers"),
        ({"lifetime": "10"}, "providers.apiyi.lifetime: '10' is no duration; write a number with ms, s, m, h or d"),
        ({"lifetime": 10}, "providers.apiyi.lifetime: 10 is no duration"),
        ({"model": 3}, "providers.apiyi.model: should be text in quotes"),
        ({"model": "a b"}, "providers.apiyi.model: has a space"),
        ({"concurrency": 0}, "providers.apiyi.concurrency: should be greater than or equal to 1"),
        ({"headers": {"a": 1}}, "providers.apiyi.headers.a: should be text in quotes"),
        ({"headers": "a"}, "providers.apiyi.headers: should be a table"),
        ({"api_key": "sk-SECRET"}, 'write "env:NAME"'),
    ],
)
def test_a_mistake_in_an_adapters_section_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        validate_section(Settings, GOOD | change, path="providers.apiyi", file=Path("a.toml"))
    assert message in str(caught.value) and str(caught.value).endswith("(in a.toml)")
    assert caught.value.key.startswith("providers.apiyi.")
    assert caught.value.__context__ is None and "SECRET" not in repr(caught.value)


@pytest.mark.parametrize(("section", "kind", "keys"), ADAPTERS, ids=[f"{one[0]}-{one[1]}" for one in ADAPTERS])
def test_every_key_that_a_section_may_have_is_offered(section: str, kind: str, keys: tuple[str, ...]) -> None:
    """Those of its kind, and those of all kinds: `pace`, `budget_usd_per_day` and the like."""
    (point,) = entry_points(group=f"archiver.{section}", name=kind)
    assert len(set(keys)) > 1
    for key in keys:
        with pytest.raises(ConfigurationError) as caught:
            validate_section(point.load().Settings, {f"{key}x": 1}, f"{section}.mine")
        assert f'{key}x: unknown setting; did you mean "{key}"?' in f"{caught.value.key}: {caught.value}".replace(
            f"{section}.mine.", ""
        ), key
