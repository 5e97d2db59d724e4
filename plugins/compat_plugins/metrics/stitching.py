"""The `stitching` metric."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from compat_spec.components import Comparison, LayerMetric, LayerScores

TRAIN_SPLIT = "train"


class Stitching(LayerMetric):
    """The loss of the second network when its block j hands on a trained linear map of block i of the first.

    It says what a representation can be used for, where the similarity of features says how they lie. Each pair of
    blocks has a map with a bias between their residual streams, fitted by least squares and then trained with the
    task's loss on its train split; the networks are frozen. Compare it with the second network stitched into itself,
    `between: [b, b]`, since maps that are trained on a task adapt to it, too. `cross_entropy` with the same `tokens`
    and `context` is of the same tokens.

    Lenc and Vedaldi, "Understanding Image Representations by Measuring Their Equivariance and Equivalence", 2015,
    arXiv:1411.5908; Bansal, Nakkiran, Barak, "Revisiting Model Stitching to Compare Neural Representations", 2021,
    arXiv:2106.07682.
    """

    quantity: ClassVar[str] = "stitching_loss"
    higher_is_better: ClassVar[bool | None] = False

    steps: int = Field(
        default=50, ge=0, description="Steps of training on the train split; 0 scores the least-squares maps."
    )
    batch_size: int = Field(default=4, ge=1, description="Windows of the train split in a step.")
    lr: float = Field(
        default=3e-3,
        gt=0,
        allow_inf_nan=False,
        description="The learning rate of Adam, for features scaled to a variance of 1.",
    )
    fit_tokens: int = Field(
        default=4096, ge=4, description="Tokens of the train split that the least-squares maps are fitted on."
    )
    ridge: float = Field(
        default=1e-6,
        gt=0,
        allow_inf_nan=False,
        description="What the fit adds to the variance of each feature, scaled to 1.",
    )
    tokens: int | None = Field(
        default=4096, ge=1, description="Score about so many tokens, from the split's beginning; null is all."
    )
    seed: int = Field(default=0, description="The seed that draws the tokens of the fit and the windows of the steps.")

    def measure(self, comparison: Comparison) -> LayerScores:
        from compat_spec.nn.stitching import StitchingRecipe, stitching_losses

        recipe = StitchingRecipe(
            pairs=self.layers,
            fit_tokens=self.fit_tokens,
            ridge=self.ridge,
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            tokens=self.tokens,
            context=self.context,
            seed=self.seed,
        )
        found = stitching_losses(
            comparison.a,
            comparison.b,
            comparison.encoded(TRAIN_SPLIT),
            comparison.encoded(self.split),
            recipe,
            device=comparison.device,
            progress=comparison.progress,
        )
        return LayerScores(found.losses, n=found.tokens)
