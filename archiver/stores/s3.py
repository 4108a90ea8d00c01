"""The door to S3 and everything that speaks its language: settings and `connect`. The work is in `s3_store`.

It loads no SDK until somebody connects, so that reading a configuration stays cheap, and opens no connection.
"""

from typing import Annotated

from pydantic import AfterValidator

from archiver.core.ports import Outside, Store
from archiver.stores.objects import ObjectSettings, bucket_and_prefix


def _s3_url(url: str) -> str:
    bucket_and_prefix(url, "s3")
    return url


class Settings(ObjectSettings):
    """`[stores.NAME]` with `url = "s3://bucket/prefix"`.

    Without `access_key_id`, credentials, region and endpoint come from where every AWS tool takes them: environment,
    profile, container or instance role.
    """

    url: Annotated[str, AfterValidator(_s3_url)]
    profile: str | None = None


def connect(name: str, settings: Settings, outside: Outside) -> Store:
    """The store behind `settings`. Nothing is asked of it yet."""
    from archiver.stores.s3_store import S3Store

    return S3Store(name, settings, outside)
