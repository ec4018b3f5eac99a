"""The page at ``/``: try a prompt, see who wins as lambda moves. It holds no data; its script asks with a token."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from starlette.responses import Response


@cache
def _content() -> tuple[bytes, str]:
    """The page, and a policy by which a browser runs its one script and nothing else."""
    page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return page.encode(), (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


def page() -> Response:
    """It, as an answer."""
    content, policy = _content()
    return Response(content, media_type="text/html", headers={"content-security-policy": policy})
