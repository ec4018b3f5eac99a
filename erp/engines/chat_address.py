"""Where an OpenAI-compatible server is, and the key that it takes: checked, and kept out of every message."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from erp.errors import ErpError


def address_faults(node: str, url: str, key: str = "base_url", path: str = "/v1") -> list[str]:
    """What is wrong with an address, the value of ``node``'s ``key``. One that may hold a secret is not repeated."""
    remedy = f"give http(s)://<host>[:<port>]{path}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return [f"{node}.{key}: is no address; {remedy}"]
    if parts.username or parts.password or parts.query or parts.fragment:
        return [f"{node}.{key}: holds credentials or a query; {remedy}; a key goes where {node}.api_key_env says"]
    return [] if usable else [f"{node}.{key} = {url}: is no address; {remedy}"]


def key_in(node: str, api_key_env: str | None) -> str:
    """The key in an environment variable; empty where none is named or needed. Raises ErpError, without the key."""
    key = os.environ.get(api_key_env or "", "").strip()
    if not key and api_key_env not in (None, "", "OPENAI_API_KEY"):  # this one was named on purpose
        raise ErpError(f"{node}.api_key_env = {api_key_env}: is not set; export the key under this name, or give null")
    if not (key.isascii() and key.isprintable()):  # an HTTP library's own complaint would quote it
        raise ErpError(f"{node}.api_key_env = {api_key_env}: its value is no key (odd characters); set it again")
    return key
