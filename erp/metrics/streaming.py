"""R^2 over batches and devices, for the training loop."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class MaskedR2(Metric):
    """R^2 of every member over all batches seen; missing observations (NaN) are left out.

    Equals `erp.metrics.prediction.r2` on the concatenated batches. All states are float64 sums (and extremes), so
    processes merge by adding. SST comes from sums of squares about ``shift``; where a member's mean is more than some
    thousand times its spread, pass roughly that mean (the train mean, the same on every process), or digits cancel.

    Args:
        members: number of pool members.
        shift: (members,) subtracted from observations before squaring; zeros if None.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    shift: Tensor
    count: Tensor
    total: Tensor
    squares: Tensor
    errors: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(self, members: int, shift: Tensor | None = None) -> None:
        super().__init__()
        zeros = torch.zeros(members, dtype=torch.float64)
        self.register_buffer("shift", zeros if shift is None else shift.to(torch.float64), persistent=False)
        for name in ("count", "total", "squares", "errors"):
            self.add_state(name, default=zeros.clone(), dist_reduce_fx="sum")
        # Constant rewards have no R^2; sums of squares alone would leave rounding in place of a zero.
        self.add_state("lowest", default=torch.full_like(zeros, torch.inf), dist_reduce_fx="min")
        self.add_state("highest", default=torch.full_like(zeros, -torch.inf), dist_reduce_fx="max")

    def update(self, predicted: Tensor, observed: Tensor) -> None:
        """Add a batch: predicted (B, M), observed (B, M) with NaN = missing."""
        target = observed.detach().to(torch.float64)
        seen = ~target.isnan()
        error = torch.where(seen, target - predicted.detach().to(torch.float64), 0.0)
        shifted = torch.where(seen, target - self.shift, 0.0)
        self.count += seen.sum(dim=0)
        self.total += shifted.sum(dim=0)
        self.squares += shifted.square().sum(dim=0)
        self.errors += error.square().sum(dim=0)
        if len(target):
            self.lowest = torch.minimum(self.lowest, torch.where(seen, target, torch.inf).amin(dim=0))
            self.highest = torch.maximum(self.highest, torch.where(seen, target, -torch.inf).amax(dim=0))

    def compute(self) -> Tensor:
        """(M,) float64; NaN where a member has fewer than two observations or all of them are equal."""
        sst = self.squares - self.total.square() / self.count
        return torch.where((self.count >= 2) & (self.highest > self.lowest), 1 - self.errors / sst, torch.nan)
