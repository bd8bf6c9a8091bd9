"""Which frames of a clip the model sees: pure integer arithmetic over counted frames."""

from collections.abc import Sequence

from encoder.video.info import VideoError


def sample_frame_indices(num_available: int, num_frames: int, places: Sequence[float] | None = None) -> list[int]:
    """One frame of each of `num_frames` equal segments, the middle one; short clips repeat frames, never fail.

    `places` says for each segment where in it the frame lies instead: 0 is its start, 1 (excluded) its end.

    >>> sample_frame_indices(num_available=100, num_frames=4)
    [12, 37, 62, 87]
    >>> sample_frame_indices(num_available=2, num_frames=4)
    [0, 0, 1, 1]
    >>> sample_frame_indices(num_available=100, num_frames=4, places=[0.0, 0.25, 0.5, 0.99])
    [0, 31, 62, 99]
    """
    if num_available < 1 or num_frames < 1:
        raise ValueError(
            f"cannot sample {num_frames} frames from a clip with {num_available}; both must be at least 1."
        )
    if places is None:
        places = [0.5] * num_frames
    check_places(places, num_frames)
    ratios = [place.as_integer_ratio() for place in places]  # exact, so that rounding never leaves a segment
    return [(i * b + a) * num_available // (b * num_frames) for i, (a, b) in enumerate(ratios)]


def check_places(places: Sequence[float], num_frames: int) -> None:
    """Raises ValueError unless there is one place for each frame, each with 0 <= place < 1."""
    if len(places) != num_frames:
        raise ValueError(f"expected one place for each of the {num_frames} frames, got {len(places)}.")
    outside = [place for place in places if not 0 <= place < 1]
    if outside:
        raise ValueError(f"a place in a segment is at least 0 and less than 1, got {outside[0]}.")


def sample_span(
    times: Sequence[float],
    num_frames: int,
    start: float | None,
    end: float | None,
    places: Sequence[float] | None = None,
) -> list[int]:
    """Indices of `num_frames` frames spread over those with start <= time <= end; `times` ascend from 0.

    `places` are those of `sample_frame_indices`.

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
    return [inside[i] for i in sample_frame_indices(len(inside), num_frames, places)]
