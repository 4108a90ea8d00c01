"""The door to Aliyun OSS: settings and `connect`. The work is in `oss_store`.

It loads no SDK until somebody connects, so that reading a configuration stays cheap, and opens no connection.
"""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from archiver.core.ports import Outside, Store
from archiver.stores.objects import ObjectSettings, bucket_and_prefix

_HOST = re.compile(r"(?:https?://)?oss-([a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com/?")


def _oss_url(url: str) -> str:
    bucket_and_prefix(url, "oss")
    return url


def _bare_region(region: str | None) -> str | None:
    """`oss-cn-hangzhou`, as the console shows it, means `cn-hangzhou`."""
    return region.removeprefix("oss-") if region else None


class Settings(ObjectSettings):
    """`[stores.NAME]` with `url = "oss://bucket/prefix"` and a `region` or an `endpoint`.

    `cname` says that `endpoint` is a domain bound to the bucket. `ram_role` names the role of the ECS instance. Without
    `access_key_id`, credentials come from OSS_ACCESS_KEY_ID and its sisters, then ALIBABA_CLOUD_*, then the role.
    """

    url: Annotated[str, AfterValidator(_oss_url)]
    region: Annotated[str | None, AfterValidator(_bare_region)] = None
    cname: bool = False
    ram_role: str | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.endpoint is None and self.region is None:
            raise ValueError('set region, for example "cn-hangzhou", or endpoint')
        if self.cname and self.endpoint is None:
            raise ValueError("cname needs endpoint: the domain that is bound to the bucket")
        return self

    def where(self) -> tuple[str, str | None]:
        """Endpoint with its scheme, and the region; None where nothing tells it, and then signatures are V1."""
        if self.endpoint is None:
            return f"https://oss-{self.region}.aliyuncs.com", self.region
        endpoint = self.endpoint if "://" in self.endpoint else f"https://{self.endpoint}"
        told = _HOST.fullmatch(endpoint)
        return endpoint.rstrip("/"), self.region or (told[1] if told else None)


def connect(name: str, settings: Settings, outside: Outside) -> Store:
    """The store behind `settings`. Nothing is asked of it yet."""
    from archiver.stores.oss_store import OssStore

    return OssStore(name, settings, outside)
