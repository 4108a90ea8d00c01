"""The keys of an account: which of them may be used now, and telling when one is refused or works again.

A key that the server does not know is set aside for a while, in memory; a rotated one is seen at the next call. It
refuses to know what a key is for, and what it tells names a key by its reference, never by what it is.
"""

import re
from collections.abc import Sequence

from archiver.core.errors import ConfigurationError, Permanent, Throttled
from archiver.core.model import SecretReference
from archiver.core.news import KeyNews
from archiver.core.ports import Outside

KEY_REST_S = 600.0
"""A key that was refused is tried again after so long; one that was replaced, at once."""


class KeyRing:
    """Used by many threads at once."""

    def __init__(self, name: str, references: Sequence[SecretReference], outside: Outside) -> None:
        """`name` is the provider's."""
        self._name = name
        self._references = tuple(references)
        self._outside = outside
        #: The text of keys stays in memory: what each reference led to, and when which key was refused.
        self._read: dict[str, str] = {}
        self._refused: dict[str, float] = {}

    def usable(self) -> list[str]:
        """The keys to try, in their order; one empty one when none is configured. Resolved at each call.

        Raises `Throttled` when every one was refused a moment ago, and `Permanent` when one cannot be read.
        """
        if not self._references:
            return [""]
        keys = [self._resolve(reference) for reference in self._references]
        now = self._outside.elapsed()
        rests = {key: self._refused.get(key, -KEY_REST_S) + KEY_REST_S - now for key in keys}
        usable = [key for key in keys if rests[key] <= 0]
        if not usable:
            raise Throttled(f"{self._name} refused every key of api_key; not asked again yet", min(rests.values()))
        return usable

    def refuse(self, key: str) -> None:
        """The server does not know this key."""
        if key:
            self._refused[key] = self._outside.elapsed()
            self._tell(key, refused=True)

    def works(self, key: str) -> None:
        """The server took this key. Called when the answer is whole: telling must not come in its way."""
        if key:
            self._refused.pop(key, None)
            self._tell(key, refused=False)

    def _tell(self, key: str, *, refused: bool) -> None:
        for reference, text in list(self._read.items()):
            if text == key:
                count = len(self._references)
                self._outside.key_news(KeyNews(provider=self._name, reference=reference, refused=refused, keys=count))

    def _resolve(self, reference: SecretReference) -> str:
        try:
            key = self._outside.secret(reference).strip()
        except ConfigurationError as error:
            raise Permanent(str(error)) from None
        if not re.fullmatch(r"[!-~]+", key):
            raise Permanent(f"{self._name}: what api_key refers to ({reference}) is no key")
        self._read[str(reference)] = key
        return key
