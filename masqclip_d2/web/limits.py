"""What one visitor may ask for, and how much the page or the service may hold at a time."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

_LARGEST = 1e9


@dataclass(frozen=True)
class Limits:
    """Limits of the page and of the service.

    Args:
        upload_mb: megabytes of one request with all its files.
        megapixels: of an image.
        categories: of one request.
        masks: masks of one's own in one request.
        mask_megapixels: these masks together: their number times the pixels of the image.
        queue: requests that wait; further ones are refused.
        queue_mb: megabytes of their images together.
        wait_s: seconds that a request may wait for its turn.
        batch: images that share passes of the networks.
        batch_megapixels: these images together, unless it is a single one.
        cache_mb: megabytes of encoded images that are kept.
        images_per_session: encoded images that are kept for one visitor of the page.
        models: models in memory at a time.
        stop_s: seconds in which accepted requests may finish after SIGTERM or Ctrl-C.

    Raises:
        ValueError: one of them is not above 0, or beyond all measure.
    """

    upload_mb: float = 50
    megapixels: float = 50
    categories: int = 2000
    masks: int = 100
    mask_megapixels: float = 1000
    queue: int = 256
    queue_mb: float = 2000
    wait_s: float = 120
    batch: int = 8
    batch_megapixels: float = 20
    cache_mb: float = 1000
    images_per_session: int = 4
    models: int = 2
    stop_s: float = 30

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not 0 < value < _LARGEST:  # NaN too
                raise ValueError(f"The limit {each.name} is {value}; expected a number above 0 and below {_LARGEST:g}.")

    @property
    def upload_bytes(self) -> int:
        """`upload_mb` in bytes."""
        return int(self.upload_mb * 1e6)

    def to_dict(self) -> dict[str, int | float]:
        """Plain data."""
        return asdict(self)
