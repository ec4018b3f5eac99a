"""What a checkpoint says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

from erp.errors import ErpError
from erp.table.asked import PromptFrom


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself: plain values only, enough to build the router again without its table.

    Attributes:
        router, backbone, policy: the config nodes they are built from.
        members: pool members, in the order of the scores' columns.
        categories: those seen in training, in the order of their codes.
        dimension: length of an embedding.
        reward_model: whose scores are predicted.
        cost_kind, cost_unit: what the predicted costs are measured in.
        category: what a router that reads it gets to see: the ``given`` one, or one ``predicted`` from the embedding.
        predict_cost: whether costs are predicted prompt by prompt (CARROT, 2502.03261), or are the train means.
        category_block: weight of a block of category indicators behind the embedding; 0 for none.
        prompt_from: what is asked of a conversation.
        policy_state: what the policy learnt after training.
        backbone_state: what a fitted backbone learnt from the train prompts.
        cost_head: how predicted costs are learnt (`erp.routers.cost_model.CostModel`); None: by validation.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    router: dict[str, Any]
    backbone: dict[str, Any]
    policy: dict[str, Any]
    members: tuple[str, ...]
    categories: tuple[str, ...]
    dimension: int
    reward_model: str
    cost_kind: str
    cost_unit: str
    category: str
    predict_cost: bool
    category_block: float
    prompt_from: PromptFrom
    policy_state: dict[str, Any] = field(default_factory=dict)
    backbone_state: dict[str, Any] = field(default_factory=dict)
    cost_head: Literal["linear", "log"] | None = None

    @property
    def guesses_category(self) -> bool:
        """Whether the router sees a predicted category in place of the given one."""
        return self.category != "given" and bool(self.categories)

    def require_vectors(self, found: int) -> None:
        """Raises ErpError where the router was made for vectors of another length."""
        if found != self.dimension:
            raise ErpError(
                f"checkpoint: is for vectors of {self.dimension} numbers, not of {found}; train the run again"
            )

    def plain(self) -> dict[str, Any]:
        """As it stands in the checkpoint."""
        return {**asdict(self), "members": list(self.members), "categories": list(self.categories)}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Card:
        """As it was before ``plain``. Raises ValidationError: a value is missing, unknown or of another type."""
        return TypeAdapter(cls).validate_python(values)
