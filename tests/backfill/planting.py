"""URLs that are planted into exports, in the forms in which providers serve them, and the decoys beside them.

Every planted URL is the exact text that was served, with a prompt of its own; all randomness comes from one seed.
"""

import random
import string
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
_SUBJECTS = (
    "一只猫坐在月球上|a fox in the snow|un café à Paris|霓虹灯下的雨夜街道，电影感|"
    'a "quoted" sign|it\'s raining|50% off & more'
)
_STYLES = "oil on canvas|4k, cinematic|水彩|isometric: no text|--ar 16:9 --v 6|(soft light)"

DECOYS = (
    "https://docs.apiyi.com/api-capabilities/gpt-image-2/overview",
    "https://api.openai.com/v1/images/generations",
    "https://api.replicate.com/v1/predictions/ab12cd/cancel",
    "https://github.com/lobehub/lobe-chat/blob/main/docs/screenshot.png",
    "https://img.shields.io/badge/build-passing-green.png",
    "https://example.com/pricing?utm_source=mail&utm_medium=link",
    "https://cdn.shop.example/avatars/user-17.png",
    "https://cdn.shop.example/thumbs/17_thumb.jpg",
    "https://www.gravatar.com/avatar/00000000000000000000000000000000?s=80",
    "https://portal.example/login?token=eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3OTUxNjUyMDB9.c2ln&next=/home",
    "https://files.example/report.pdf?X-Amz-Date=20261120T080000Z&X-Amz-Expires=3600&X-Amz-Signature=abc",
    "https://videos.example/clip.mp4?Expires=1795165200&OSSAccessKeyId=LTAIx&Signature=abc",
    "https://site.example/favicon.ico",
    "https://site.example/static/logo.png",
    "wss://stream.example/events",
)


@dataclass(frozen=True)
class Planted:
    """One image that somebody kept: the URL as it was served, and the prompt it came from."""

    url: str
    prompt: str
    made: datetime


class Gardener:
    """Makes URLs and prompts, never the same twice."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.count = 0

    def image(self) -> Planted:
        """The next one."""
        self.count += 1
        rng = self.rng
        style = rng.choice(_STYLES.split("|"))
        prompt = f"{rng.choice(_SUBJECTS.split('|'))}, {style} no. {self.count}"
        made = NOW - timedelta(minutes=rng.randrange(0, 600))
        return Planted(_FORMS[self.count % len(_FORMS)](rng, made, self.count), prompt, made)

    def images(self, count: int) -> list[Planted]:
        """Several."""
        return [self.image() for _ in range(count)]

    def decoy(self) -> str:
        """One URL that is no image."""
        return self.rng.choice(DECOYS)


def _hex(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("0123456789abcdef", k=count))


def _token(rng: random.Random, count: int = 28) -> str:
    """Base64 as it stands in a query, percent-encoded signs and all."""
    return "".join(rng.choices(string.ascii_letters + string.digits, k=count)) + rng.choice(
        ["%3D", "%2Bx%3D", "%2Fy%3D"]
    )


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp())


def _oss(rng: random.Random, made: datetime, n: int) -> str:
    return (
        f"https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/1d/{_hex(rng, 2)}/20261120/{_hex(rng, 8)}/{n}.png"
        f"?Expires={_epoch(made + timedelta(days=1))}&OSSAccessKeyId=LTAI5t{_hex(rng, 8)}&Signature={_token(rng)}"
    )


def _azure(rng: random.Random, made: datetime, n: int) -> str:
    end = made + timedelta(hours=2)
    return (
        f"https://oaidalleapiprodscus.blob.core.windows.net/private/org-{_hex(rng, 12)}/img-{n}-{_hex(rng, 6)}.png"
        f"?st={made:%Y-%m-%dT%H%%3A%M%%3A%SZ}&se={end:%Y-%m-%dT%H%%3A%M%%3A%SZ}&sp=r&sv=2021-08-06&sr=b"
        f"&rscd=inline&rsct=image/png&sig={_token(rng)}"
    )


def _s3(rng: random.Random, made: datetime, n: int) -> str:
    return (
        f"https://gen-{_hex(rng, 4)}.s3.amazonaws.com/out/{_hex(rng, 20)}{n}?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Date={made:%Y%m%dT%H%M%SZ}&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        f"&X-Amz-Signature={_hex(rng, 64)}"
    )


def _tos(rng: random.Random, made: datetime, n: int) -> str:
    return (
        f"https://ark-content-generation-v2-cn-beijing.tos-cn-beijing.volces.com/doubao/{n}{_hex(rng, 10)}_0.jpeg"
        f"?X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Date={made:%Y%m%dT%H%M%SZ}&X-Tos-Expires=86400"
        f"&X-Tos-Signature={_hex(rng, 64)}"
    )


def _discord(rng: random.Random, made: datetime, n: int) -> str:
    start, end = _epoch(made), _epoch(made + timedelta(days=1))
    return (
        f"https://cdn.discordapp.com/attachments/{rng.randrange(10**18)}/{n}/grid_{_hex(rng, 6)}.png"
        f"?ex={end:x}&is={start:x}&hm={_hex(rng, 64)}&"
    )


def _copilot(rng: random.Random, made: datetime, n: int) -> str:
    return f"https://r2cdn.copilotbase.com/r2cdn2/{_hex(rng, 8)}-{n}.png"


def _fal(rng: random.Random, made: datetime, n: int) -> str:
    return f"https://v3b.fal.media/files/b/{_hex(rng, 8)}/{_hex(rng, 16)}{n}_output.webp"


def _replicate(rng: random.Random, made: datetime, n: int) -> str:
    return f"https://replicate.delivery/pbxt/{_hex(rng, 24)}{n}/out-0.png"


def _ideogram(rng: random.Random, made: datetime, n: int) -> str:
    end = _epoch(made + timedelta(days=1)) * (1000 if n % 2 else 1)
    return f"https://ideogram.ai/api/images/ephemeral/{_hex(rng, 16)}{n}.png?exp={end}&sig={_hex(rng, 40)}"


def _plain(rng: random.Random, made: datetime, n: int) -> str:
    return f"https://img{n % 7}.relay-{_hex(rng, 3)}.cn/v1/out/{_hex(rng, 10)}_{n}.jpg?x=1(2)&name=a%26b"


_FORMS = (_oss, _azure, _s3, _tos, _discord, _copilot, _fal, _replicate, _ideogram, _plain)
