"""The configuration: what the shipped file says, what a good one means, where it is found, and what is shown of it."""

import importlib
import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from archiver.config import (
    AlertsSection,
    ArchiverSection,
    FetchSection,
    Job,
    NetworkSection,
    ProviderSection,
    describe,
    find_config,
    job_wishes,
    load,
    require_config,
    validate_section,
)
from archiver.core.errors import ConfigurationError
from archiver.schedule import Every
from archiver.settings import Section
from tests.shells.configuring import SHIPPED, SMALL, complaint, configured, uncommented

ADAPTERS = {
    "batch": "archiver.providers.batch",
    "chat": "archiver.providers.chat",
    "gemini": "archiver.providers.gemini",
    "images": "archiver.providers.images",
    "sandbox": "archiver.providers.sandbox",
    "tasks": "archiver.providers.tasks",
    "file": "archiver.stores.local",
    "s3": "archiver.stores.s3",
    "oss": "archiver.stores.oss",
}


def settings_of(kind: str) -> type[Section]:
    found = importlib.import_module(ADAPTERS[kind]).Settings
    assert issubclass(found, Section)
    return found


def prompts_of(job: Job) -> list[str]:
    return [wish.prompt for wish in job_wishes(job, datetime(2026, 11, 20, 1, tzinfo=UTC), 0)]


# --- the shipped file -----------------------------------------------------------------------------------------------


def test_the_shipped_file_works_without_an_account_as_it_is() -> None:
    config = load(SHIPPED, {}, "Asia/Shanghai")
    folder = SHIPPED.parent
    assert config.archiver.data_dir == folder / "data"
    assert [entry.kind for entry in config.providers.values()] == ["sandbox"]
    assert config.stores["main"].url == f"file://{folder}/data/archive"
    (job,) = config.jobs
    assert job.when == Every(timedelta(hours=1))
    assert prompts_of(job) == ["a cat on the moon", "月球上的猫"]
    for entry in config.providers.values():
        validate_section(settings_of(entry.kind), entry.settings, "providers")
    for store in config.stores.values():
        validate_section(settings_of(store.scheme), store.settings, "stores")


def test_every_commented_setting_is_right_when_it_is_switched_on(tmp_path: Path) -> None:
    text = uncommented(SHIPPED.read_text(encoding="utf-8"))
    config = configured(tmp_path, text)
    examples = {f"{kind}-example" for kind in ("batch", "chat", "gemini", "tasks")}
    assert set(config.providers) == {"sandbox", "apiyi", *examples}
    assert set(config.stores) == {"main", "aliyun", "s3"}
    assert [job.name for job in config.jobs] == ["hello", "daily-covers"]
    for name, entry in config.providers.items():
        validate_section(settings_of(entry.kind), entry.settings, f"providers.{name}")
    for name, store in config.stores.items():
        validate_section(settings_of(store.scheme), store.settings, f"stores.{name}")
    (tmp_path / "prompts.txt").write_text("a cat\n{style}, {place}\n", encoding="utf-8")
    (tmp_path / "places.txt").write_text("the moon\n", encoding="utf-8")
    assert prompts_of(config.jobs[1]) == ["a cat", "oil, the moon", "ink, the moon"]
    shown = {row.key: row.value for row in describe(config)}
    assert json.loads(json.dumps(shown["jobs.daily-covers.lists"]))["place"] == str(tmp_path / "places.txt")


def test_the_shipped_file_names_every_key_there_is() -> None:
    """And no other one: what it documents and what is accepted are the same."""
    raw = tomllib.loads(uncommented(SHIPPED.read_text(encoding="utf-8")))
    own: dict[str, type[BaseModel]] = {
        "archiver": ArchiverSection,
        "fetch": FetchSection,
        "network": NetworkSection,
        "alerts": AlertsSection,
    }
    for section, model in own.items():
        assert set(raw[section]) == set(model.model_fields), section
    assert {key for job in raw["jobs"] for key in job} == set(Job.model_fields)
    kinds = {"sandbox": "sandbox", "apiyi": "images", "chat-example": "chat", "gemini-example": "gemini"}
    kinds |= {"tasks-example": "tasks", "batch-example": "batch"}
    for name, kind in kinds.items():
        known = {*ProviderSection.model_fields, *settings_of(kind).model_fields}
        assert set(raw["providers"][name]) == known, name
    for name, kind in (("main", "file"), ("aliyun", "oss"), ("s3", "s3")):
        assert set(raw["stores"][name]) == set(settings_of(kind).model_fields), name


def test_the_documented_defaults_are_the_defaults(tmp_path: Path) -> None:
    """A commented `#key = value` of our own sections shows what holds without it, unless its comment says otherwise."""
    examples = {"zone", "allow_cidrs", "proxy", "ca_file", "tags", "prompts_file", "parameters", "inputs", "lists"}
    examples |= {"budget_usd_per_day", "budget_usd_per_month", "prices_file"}
    on = configured(tmp_path, uncommented(SHIPPED.read_text(encoding="utf-8")))
    off = configured(tmp_path, SHIPPED.read_text(encoding="utf-8"))
    for name in ("archiver", "fetch"):
        shown, default = getattr(on, name).model_dump(exclude=examples), getattr(off, name).model_dump(exclude=examples)
        assert shown == default
    assert on.jobs[0].model_dump(exclude=examples) == off.jobs[0].model_dump(exclude=examples)


# --- what a good file means -----------------------------------------------------------------------------------------


def test_a_small_file_gets_the_defaults(tmp_path: Path) -> None:
    config = configured(tmp_path, SMALL)
    assert config.archiver.data_dir == tmp_path / "data"
    assert config.archiver.copies == 16
    assert config.fetch.max_bytes == 100_000_000 and config.fetch.allow_cidrs == ()
    assert config.network.proxy is None
    assert config.providers["apiyi"].settings == {"api_key": "env:APIYI_API_KEY"}
    assert (config.stores["main"].scheme, config.stores["main"].settings) == ("file", {"url": "file:///srv/images"})
    (job,) = config.jobs
    assert (job.stores, job.zone, job.n, job.enabled, job.catch_up) == (("main",), "Asia/Shanghai", 1, True, "once")
    assert configured(tmp_path, "").archiver.zone == "UTC"


def test_paths_are_relative_to_the_file_and_home_is_known(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        '[archiver]\ndata_dir = "../state"\n[network]\nca_file = "~/ca.pem"\n'
        '[stores.a]\nurl = "file://./my%20pictures/图"\n[stores.b]\nurl = "file://~/b"\n',
        {"HOME": "/home/li"},
    )
    assert config.archiver.data_dir == tmp_path / "../state"
    assert config.network.ca_file == "/home/li/ca.pem"
    assert config.stores["a"].url == f"file://{tmp_path}/my%20pictures/%E5%9B%BE"
    assert config.stores["b"].url == "file:///home/li/b"
    assert "HOME is not set" in complaint(tmp_path, '[archiver]\ndata_dir = "~/x"')


def test_a_file_named_by_a_relative_path_has_absolute_paths_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.toml").write_text('[stores.main]\nurl = "file://./x"', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = load(Path("a.toml"), {}, "UTC")
    assert config.path == tmp_path / "a.toml" and config.archiver.data_dir == tmp_path / "data"
    assert config.stores["main"].url == f"file://{tmp_path}/x"


def test_a_file_written_by_a_windows_editor_is_read(tmp_path: Path) -> None:
    path = tmp_path / "archiver.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load(path, {}, "UTC").jobs[0].name == "daily-cats"


@pytest.mark.parametrize(
    ("text", "value"), [('"100MB"', 10**8), ('"1 GiB"', 2**30), ('"1.5 kb"', 1500), ("5000", 5000), ('"2000B"', 2000)]
)
def test_sizes_have_units(tmp_path: Path, text: str, value: int) -> None:
    assert configured(tmp_path, f"[fetch]\nmax_bytes = {text}").fetch.max_bytes == value


@pytest.mark.parametrize("size", ["2048x2048", "1x9", "2K", "0.5k", "auto", "16:9", "landscape_16_9"])
def test_picture_sizes_are_pixels_or_words(tmp_path: Path, size: str) -> None:
    assert configured(tmp_path, SMALL + f'size = "{size}"').jobs[0].size == size


def test_prompts_come_from_a_file_line_by_line(tmp_path: Path) -> None:
    """Chinese, quotes, an escaped `#`, braces, a line separator: a prompt is kept as it is. Read at each call."""
    (tmp_path / "prompts.txt").write_bytes(
        '\ufeff\\# a "hash"\r\n\r\n# not this one\r\n  月球上的猫 {n} \r\n \ntwo\u2028parts'.encode()
    )
    (job,) = configured(tmp_path, SMALL.replace('prompts = ["a cat"]', 'prompts_file = "prompts.txt"')).jobs
    assert prompts_of(job) == ['# a "hash"', "月球上的猫 {n}", "two\u2028parts"]
    (tmp_path / "prompts.txt").write_text("new", encoding="utf-8")
    assert prompts_of(job) == ["new"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"\n \n# only this\n", "holds no prompt"),
        ("猫".encode("utf-16"), "UTF-16, not UTF-8"),
        ("a\n月球上的猫".encode("gbk"), r"prompts\.txt:2: not UTF-8"),
        (b"a\0b", "UTF-8"),
    ],
)
def test_a_useless_prompts_file_is_a_configuration_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    (job,) = configured(tmp_path, SMALL.replace('prompts = ["a cat"]', 'prompts_file = "prompts.txt"')).jobs
    if content is not None:
        (tmp_path / "prompts.txt").write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        prompts_of(job)
    assert caught.value.key == "jobs.daily-cats.prompts_file"


# --- where it is found ----------------------------------------------------------------------------------------------


def test_the_file_is_looked_for_in_the_documented_order(tmp_path: Path) -> None:
    cwd, home, xdg = tmp_path / "cwd", tmp_path / "home", tmp_path / "xdg"
    for folder in (cwd / "config", home / ".config/archiver", xdg / "archiver"):
        folder.mkdir(parents=True)
    (cwd / "config/archiver.toml").touch()

    def found(explicit: str | None = None, **environ: str) -> Path | None:
        return find_config(explicit, environ, cwd=cwd, home=home)

    assert found() is None
    (home / ".config/archiver/config.toml").touch()
    assert found() == found(XDG_CONFIG_HOME="relative") == home / ".config/archiver/config.toml"
    assert found(XDG_CONFIG_HOME=str(xdg)) is None
    (xdg / "archiver/config.toml").touch()
    assert found(XDG_CONFIG_HOME=str(xdg)) == xdg / "archiver/config.toml"
    (cwd / "archiver.toml").touch()
    assert found(XDG_CONFIG_HOME=str(xdg)) == found(ARCHIVER_CONFIG="") == cwd / "archiver.toml"
    assert found(ARCHIVER_CONFIG="other.toml") == cwd / "other.toml"
    assert found("/etc/mine.toml", ARCHIVER_CONFIG="other.toml") == Path("/etc/mine.toml")


def test_without_a_file_the_user_is_told_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'no configuration found; .*run "archiver init"') as caught:
        require_config(None, {}, cwd=tmp_path, home=tmp_path)
    for place in (tmp_path / "archiver.toml", tmp_path / ".config/archiver/config.toml", "/etc/archiver/config.toml"):
        assert str(place) in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"cannot read .*gone\.toml: No such file"):
        load(require_config("gone.toml", {}, cwd=tmp_path, home=tmp_path), {}, "UTC")


# --- what is shown --------------------------------------------------------------------------------------------------


def test_show_tells_each_value_and_its_origin(tmp_path: Path) -> None:
    config = configured(tmp_path, SMALL, {"ARCHIVER_PROVIDERS__APIYI__MODEL": "m", "ARCHIVER_FETCH__MAX_BYTES": "1MB"})
    rows = {row.key: (row.value, row.origin) for row in describe(config)}
    assert rows["archiver.zone"] == ("Asia/Shanghai", "file")
    assert rows["archiver.data_dir"] == (str(tmp_path / "data"), "default")
    assert rows["providers.apiyi.kind"] == ("images", "file")
    assert rows["providers.apiyi.api_key"] == ("env:APIYI_API_KEY", "file")
    assert rows["providers.apiyi.model"] == ("m", "env")
    assert rows["fetch.max_bytes"] == (1_000_000, "env")
    assert rows["network.proxy"] == (None, "default")
    assert rows["jobs.daily-cats.prompts"] == (["a cat"], "file")
    assert rows["jobs.daily-cats.stores"] == (["main"], "default")
    assert [*rows][:1] + [*rows][-1:] == ["archiver.data_dir", "jobs.daily-cats.budget_usd_per_month"]
    assert {"file", "env", "default"} == {origin for _, origin in rows.values()}


def test_no_literal_secret_is_shown_or_repeated(tmp_path: Path) -> None:
    """Whatever a person writes where a secret should not be: `config show` and the complaints do not show it."""
    text = """
[providers.apiyi]
kind = "images"
api_key = "sk-SECRET"
base_url = "https://user:SECRET@api.example.com/v1?key=SECRET"
extra_headers = { Authorization = "Bearer SECRET", plain = "seen" }
tokens = ["SECRET"]
[stores.main]
url = "s3://bucket"
access_key_secret = "SECRET"
[network]
proxy = "http://user:SECRET@127.0.0.1:7890"
"""
    config = configured(tmp_path, text)
    shown = {row.key: row.value for row in describe(config)}
    assert "SECRET" not in str(shown)
    assert shown["providers.apiyi.base_url"] == "https://***@api.example.com/v1?***"
    assert shown["network.proxy"] == "http://***@127.0.0.1:7890"
    assert shown["providers.apiyi.extra_headers"] == {"Authorization": "***", "plain": "seen"}
    assert config.network.proxy == "http://user:SECRET@127.0.0.1:7890"
    wrong = text.replace("s3://bucket", "s3://AK:SECRET@bucket").replace("http://user", "ftp://user")
    said = complaint(tmp_path, wrong, {"ARCHIVER_ARCHIVER__COPIES": "SECRET", "ARCHIVER_SECRETS": "SECRET"})
    assert "a key does not belong into the URL" in said and "SECRET" not in said.replace("ARCHIVER_SECRETS", "")
