"""The key of a service: read from the environment, sent in one header, and blotted out of every text."""

import os
import re
from urllib.parse import quote

BLOT = "[key]"
USABLE = re.compile(r"""[^\s"'\\<>&]+""", re.ASCII)  # services repeat such characters unchanged, except for / and for escapes in addresses


class Secret:
    """A key that no text shows, not even its own `repr`; `Secret(None)` is no key."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __repr__(self) -> str:
        return f"Secret({'none' if self._key is None else BLOT})"

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that carry the key."""
        return {} if self._key is None else {"Authorization": f"Bearer {self._key}"}

    def blot(self, text: str) -> str:
        """The text without the key, also where a service repeats it as JSON or in an address.

        Blot a text before it is cut: a part of the key is a leak too.
        """
        if self._key is not None:
            for form in sorted({self._key, self._key.replace("/", r"\/"), quote(self._key, safe="")}, key=len, reverse=True):
                text = text.replace(form, BLOT)
        return text


def read_secret(setting: str, variable: str | None) -> Secret:
    """The key in that environment variable, without white space around it; ValueError, which does not show it, where it cannot be used.

    `setting` is the key of the config that names the variable, for the message.
    """
    if variable is None:
        return Secret(None)
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"{setting} names the environment variable {variable}, which is not set here: export it, or remove {setting}")
    if not (key.isascii() and key.isprintable() and USABLE.fullmatch(key)):
        raise ValueError(
            f"{setting}: the key in {variable} (not shown) has spaces, quotes or other characters that no key has: export the right one"
        )
    return Secret(key)
