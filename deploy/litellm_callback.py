"""LiteLLM's proxy asks a gateway of erp which of its models answers a chat that names the model `erp/auto`.

Beside LiteLLM's config.yaml, which has each member of the run in its `model_list`, under the member's name:

    litellm_settings:
      callbacks: litellm_callback.router

Variables: ERP_URL, the gateway (http://127.0.0.1:8400); ERP_TOKEN, its token, if it wants one; ERP_DEFAULT, the model
that answers while the gateway does not (without it, such a request fails).
"""

from __future__ import annotations

import logging
import os
from typing import Any

import httpx
from litellm.integrations.custom_logger import CustomLogger

AUTO = "erp/auto"
READ = ("messages", "tools", "functions", "response_format", "max_completion_tokens", "max_tokens")


class Router(CustomLogger):
    """Sets the model of a request before LiteLLM sends it on."""

    def __init__(self) -> None:
        super().__init__()
        token = os.environ.get("ERP_TOKEN")
        self.gateway = httpx.AsyncClient(
            base_url=os.environ.get("ERP_URL", "http://127.0.0.1:8400"),
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=2.0,
        )

    async def async_pre_call_hook(
        self,
        user_api_key_dict: Any,
        cache: Any,
        data: dict[str, Any],
        call_type: str,
    ) -> dict[str, Any]:
        """Ask for the decision alone; keys and answers stay with LiteLLM."""
        wishes = {key: data.pop(key) for key in [*data] if key.startswith("x-erp-")}
        if data.get("model") != AUTO:
            return data
        asked = {key: data[key] for key in READ if key in data}
        try:
            answer = await self.gateway.post("/route", json={**asked, **wishes})
            answer.raise_for_status()
            data["model"] = answer.json()["member"]
        except httpx.HTTPError as error:
            logging.getLogger("erp").warning("no decision: %s", error)
            data["model"] = os.environ.get("ERP_DEFAULT", AUTO)
        return data


router = Router()
