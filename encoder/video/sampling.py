"""Which frames of a clip the model sees: pure integer arithmetic over counted frames."""

from collections.abc import Sequence

from encoder.video.info import VideoError


def sample_frame_indices(num_available: int, num_frames: int) -> list[int]:
    """Middle frame of `num_frames` equal segments; short clips repeat frames, never fail.

    >>> sample_frame_indices(num_available=100, num_frames=4)
    [12, 37, 62, 87]
    >>> sample_frame_indices(num_available=2, num_frames=4)
    [0, 0, 1, 1]
    """
    if num_available < 1 or num_frames < 1:
        raise ValueError(
            f"cannot sample {num_frames} frames from a clip with {num_available}; both must be at least 1."
        )
    return [(2 * i + 1) * num_available // (2 * num_frames) for i in range(num_frames)]


def sample_span(times: Sequence[float], num_frames: int, start: float | None, end: float | None) -> list[int]:
    """Indices of `num_frames` frames spread over those with start <= time <= end; `times` ascend from 0.

    >>> sample_span([0.0, 0.5, 1.0, 1.5], 2, start=0.5, end=1.0)
    [1, 2]

    Raises VideoError when no frame lies in the span.
    """
    half_tick = 5e-4  # a user's 0.033 means the frame at 0.0333
    first = 0.0 if start is None else start - half_tick
    last = times[-1] if end is None else end + half_tick
    inside = [i for i, time in enumerate(times) if first <= time <= last]
    if not inside:
        raise VideoError(
            f"There is no frame between {first + half_tick if start is not None else 0.0:.2f} s and "
            f"{last - half_tick if end is not None else last:.2f} s; the last frame is at {times[-1]:.2f} s."
        )
    return [inside[i] for i in sample_frame_indices(len(inside), num_frames)]
