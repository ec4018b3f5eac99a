"""What a user says of a server: its address, its key (kept out of every message), further fields of every call."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from erp.errors import ErpError, shorten


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


def checked_extra(node: str, extra_body: Mapping[str, Any] | None, ours: frozenset[str]) -> dict[str, Any]:
    """The fields a user adds to every call. Raises ErpError for one that is ours to set, or no JSON."""
    extra = dict(extra_body or {})
    if taken := (ours | {"stream", "stream_options"}) & extra.keys():
        raise ErpError(f"{node}.extra_body: {shorten(sorted(taken))} is not to be set here; {node} has options for it")
    try:
        json.dumps(extra, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ErpError(f"{node}.extra_body: is no JSON ({error}); give text, numbers, lists and groups") from None
    return extra


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for an address.

    aiohttp's ``trust_env`` also reads ``.netrc`` at every call, and fails where that names the host beside our key.
    """
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
