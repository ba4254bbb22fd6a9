"""How far two distributions over the same bins are apart."""

import numpy as np
import numpy.typing as npt


def psi(reference: npt.NDArray[np.float64], window: npt.NDArray[np.float64], rows: tuple[int, int]) -> float:
    """Return the population stability index Σ (w − r) ln(w / r) over bins, in nats.

    Half a row is added to every bin of both (Jeffreys' prior), so that an empty bin weighs as much as its rarity in
    so many rows allows, and not more. A bin that is empty in both says nothing and is left out.

    Args:
        reference: share in each bin, shape (bins,).
        window: share in each bin, shape (bins,).
        rows: number of rows behind each.
    """
    used = (reference > 0) | (window > 0)
    r, w = (
        (part[used] * count + 0.5) / (count + 0.5 * used.sum())
        for part, count in zip((reference, window), rows, strict=True)
    )
    return float(np.sum((w - r) * np.log(w / r)))
