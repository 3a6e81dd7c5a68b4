"""What an ensemble's outputs mean: a label and a divergence for each pixel.

Pure functions of logits, and running sums of them. Nothing here knows of stores, files or generators.
Divergences are Jensen-Shannon divergences in nats (DatasetGAN, Zhang et al., CVPR 2021, section 3.2; for
image classifiers: Beluch et al., CVPR 2018, eq. 4): the entropy of the members' mean probabilities minus the
mean of their entropies. Probabilities are averaged, not logits. For heat maps the mean is the label, and the
variance between members is used as the divergence. It is NaN where the output of one member is not finite.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.models.interpreter import InterpreterEnsemble

DEFAULT_CHUNK_PIXELS = 4096


def entropy(probability: Tensor) -> Tensor:
    """Shannon entropy in nats over the last axis; 0 ln 0 is 0."""
    return torch.special.entr(probability).sum(-1)


def vote(logits: Tensor) -> Tensor:
    """Labels [P] int64: majority of the members' classes, logits [E, P, K]; ties go to the lowest id."""
    winners = logits.argmax(2)  # [E, P]
    votes = torch.zeros(logits.shape[1:], dtype=torch.int16, device=logits.device)  # [P, K]
    votes.scatter_add_(1, winners.T, torch.ones_like(winners.T, dtype=torch.int16))
    return votes.argmax(1)


def js_divergence(probabilities: Tensor) -> Tensor:
    """Jensen-Shannon divergence [P] float32 of probabilities [E, P, K], in [0, ln E] nats; NaN stays NaN."""
    probabilities = probabilities.float()
    return _bounded(entropy(probabilities.mean(0)) - entropy(probabilities).mean(0), probabilities.shape[0])


def divergence_limit(num_members: int, dtype: torch.dtype) -> float:
    """The largest value of ``dtype`` that is not above ln(num_members).

    Rounding ln 10 to float16 gives 2.3027, which no divergence of ten members can reach.
    """
    exact = math.log(num_members)
    limit = torch.tensor(exact, dtype=torch.float64).to(dtype)
    if limit.item() > exact:
        limit = torch.nextafter(limit, torch.zeros_like(limit))
    return limit.item()


def divergence_to_float16(divergence: Tensor, num_members: int) -> Tensor:
    """The divergence rounded to float16 for storing, still within [0, ln(num_members)]."""
    return divergence.half().clamp(max=divergence_limit(num_members, torch.float16))


class Tally:
    """Running votes, probabilities and entropies of P pixels; (members x pixels x classes) never exists.

    ``add`` takes one member after another, then ``labels`` and ``divergence`` are what ``vote`` and
    ``js_divergence`` give for all of them at once.
    """

    def __init__(self, num_pixels: int, num_classes: int, device: torch.device) -> None:
        self._num_members = 0
        self._winners: list[Tensor] = []  # of each member, [P, 1] int64
        self._votes = torch.zeros(num_pixels, num_classes, dtype=torch.int16, device=device)
        self._probability = torch.zeros(num_pixels, num_classes, device=device)  # summed over members
        self._entropy = torch.zeros(num_pixels, device=device)  # summed over members, and negated

    def add(self, logits: Tensor) -> None:
        """One member's logits [P, K] float32."""
        self._num_members += 1
        winners = logits.argmax(1, keepdim=True)  # [P, 1]
        self._winners.append(winners)
        self._votes.scatter_add_(1, winners, torch.ones_like(winners, dtype=torch.int16))
        log_probability = logits.log_softmax(1)
        probability = log_probability.exp()
        self._probability += probability
        # 0 ln 0 is 0 here without a special case: the logarithm of a softmax of finite logits is finite.
        self._entropy += probability.mul_(log_probability).sum(1)

    @staticmethod
    def empty(height: int, width: int, num_classes: int, device: torch.device) -> Tensor:
        """An image's labels [H, W] to be filled: uint8, int64 beyond 256 classes."""
        dtype = torch.uint8 if num_classes <= 256 else torch.int64
        return torch.empty(height, width, dtype=dtype, device=device)

    def labels(self) -> Tensor:
        """Labels [P] int64: the majority; ties go to the lowest id."""
        return self._votes.argmax(1)

    def votes_by_label(self, labels: Tensor, pixels: slice) -> Tensor:
        """Votes at these of the P pixels: [K, K] int64, [a, b] of members for b where the label is a.

        ``labels`` are what ``labels()`` gives. A vote is added to one of K * K sums, so that K changes little
        in the time that this takes.
        """
        num_classes = self._votes.shape[1]
        winners = torch.cat(self._winners, 1)[pixels]  # [p, E]
        cells = (labels[pixels, None] * num_classes + winners).flatten()  # [p * E]
        sums = torch.zeros(num_classes**2, dtype=torch.int64, device=labels.device)
        one = torch.ones(1, dtype=torch.int64, device=labels.device)
        return sums.scatter_add_(0, cells, one.expand(len(cells))).view(num_classes, num_classes)

    def divergence(self) -> Tensor:
        """Jensen-Shannon divergence [P] float32 in nats, or NaN."""
        mean = self._probability / self._num_members
        return _bounded(entropy(mean) + self._entropy / self._num_members, self._num_members)


class HeatTally:
    """The same for heat maps of K keypoints: running mean and squared deviations, one member after another.

    Welford's update (Technometrics 4, 1962) is used; it is exact even where members agree to many digits.
    Each member's heat is clamped to [0, 1]. Its last layer is linear, and for a feature unlike all that it
    has seen it can give hundreds, which would decide the mean alone.
    """

    def __init__(self, num_pixels: int, num_keypoints: int, device: torch.device) -> None:
        self._num_members = 0
        self._mean = torch.zeros(num_pixels, num_keypoints, device=device)
        self._squares = torch.zeros(num_pixels, num_keypoints, device=device)  # of deviations, summed
        self._finite = torch.ones(num_pixels, dtype=torch.bool, device=device)

    def add(self, heats: Tensor) -> None:
        """One member's heats [P, K] float32. One that is not finite counts as 0, so that heat maps are."""
        self._num_members += 1
        finite = heats.isfinite()
        self._finite &= finite.all(1)
        heats = bounded_heat(heats.where(finite, 0.0))
        deviation = heats - self._mean
        self._mean.add_(deviation, alpha=1 / self._num_members)
        self._squares.addcmul_(deviation, heats - self._mean)

    @staticmethod
    def empty(height: int, width: int, num_keypoints: int, device: torch.device) -> Tensor:
        """An image's heat maps [H, W, K] float32 to be filled."""
        return torch.empty(height, width, num_keypoints, device=device)

    def labels(self) -> Tensor:
        """Heats [P, K] float32: the members' mean."""
        return self._mean

    def divergence(self) -> Tensor:
        """The variance between members [P] float32, averaged over the keypoints; at most 1/4, or NaN."""
        return (self._squares.mean(1) / self._num_members).where(self._finite, torch.nan)


AnyTally = Tally | HeatTally


def bounded_heat(heats: Tensor) -> Tensor:
    """Members' heats within what a heat map holds."""
    return heats.clamp(0, 1)


def _bounded(divergence: Tensor, num_members: int) -> Tensor:
    return divergence.clamp(0, divergence_limit(num_members, torch.float32))


def label_pixels(
    ensemble: InterpreterEnsemble, features: Tensor, *, chunk_pixels: int = DEFAULT_CHUNK_PIXELS
) -> tuple[Tensor, Tensor]:
    """Labels [P] (uint8, int64 beyond 256 classes) and divergence [P] float32 of float features [P, C].

    The ensemble must be in evaluation mode and on the device where the results are wanted; features are moved
    there and cast to float32 ``chunk_pixels`` at a time, which bounds the memory. Raises ValueError for an
    ensemble in training mode.
    """
    if ensemble.training:
        raise ValueError(
            "the ensemble is in training mode, expected evaluation mode; call .eval() before labelling"
        )
    device = ensemble.weight1.device
    dtype = torch.uint8 if ensemble.num_classes <= 256 else torch.int64
    labels = torch.empty(len(features), dtype=dtype, device=device)
    divergence = torch.empty(len(features), device=device)
    with torch.inference_mode():
        for start in range(0, len(features), chunk_pixels):
            pixels = slice(start, start + chunk_pixels)
            logits = ensemble.forward_shared(features[pixels].to(device).float())  # [E, p, K]
            labels[pixels] = vote(logits).to(dtype)
            finite = logits.isfinite().all(2).all(0)  # [p]
            divergence[pixels] = js_divergence(logits.softmax(2)).where(finite, torch.nan)
    return labels, divergence
