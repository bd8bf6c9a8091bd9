"""Length costs neither time nor memory, and large files are sampled without decoding all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from encoder.video import process, read_frames, reader

Clip = Callable[..., Path]
Numbers = Callable[[torch.Tensor], list[int]]
GOP = 250


def repeat(source: Path, target: Path, times: int) -> Path:
    """Remux a clip so often after itself, with times that go on: a long file at the price of a short one."""
    with av.open(str(source)) as short, av.open(str(target), "w") as long:
        stream = short.streams.video[0]
        out = long.add_stream_from_template(stream)
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in short.demux(stream) if p.size]
        length = len(packets) * int(1 / (stream.average_rate * stream.time_base))
        for round_ in range(times):
            for data, pts, dts, is_key in packets:
                packet = av.Packet(data)
                packet.stream, packet.time_base = out, stream.time_base
                packet.pts, packet.dts = pts + round_ * length, dts + round_ * length
                packet.is_keyframe = is_key
                long.mux(packet)
    return target


@pytest.fixture(scope="module")
def ten_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18,000 frames of 1920x1080 at 30 a second, a key frame every 250."""
    folder = tmp_path_factory.mktemp("long")
    source = folder / "short.mp4"
    with av.open(str(source), "w") as container:
        options = {"preset": "ultrafast", "g": str(GOP), "bf": "2", "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        ramp = np.add.outer(np.arange(1080), np.arange(1920)).astype(np.uint8)
        for i in range(GOP):
            planes = np.full((1620, 1920), 128, np.uint8)
            planes[:1080] = 20 + (ramp + np.uint8(2 * i % 256)) % 64  # moving all over
            for bit in range(10):
                planes[:540, bit * 192 : bit * 192 + 192] = 220 if i >> bit & 1 else 20
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return repeat(source, folder / "long.mp4", 18_000 // GOP)


def test_ten_minutes_of_1080p(ten_minutes: Path, numbers: Numbers) -> None:
    frames = read_frames(ten_minutes, 8)  # raises past its 15 seconds
    assert frames.info.num_frames == 18_000
    assert frames.info.duration == pytest.approx(600.0)
    assert frames.pixels.shape == (8, 3, 336, 597)
    assert frames.times.tolist() == pytest.approx([37.5 + 75 * i for i in range(8)])
    assert numbers(frames.pixels) == [round(30 * t) % GOP for t in frames.times.tolist()]


def test_hours_are_read_with_little_memory(
    make_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: Numbers
) -> None:
    path = repeat(make_clip("minute.mp4", 200, options={"g": "50"}), tmp_path / "hours.mp4", 200)
    monkeypatch.setattr(process, "MEMORY_LIMIT", 300 * 2**20)
    frames = read_frames(path, 8)  # its worker would have been killed
    assert frames.info.num_frames == 40_000
    assert numbers(frames.pixels) == [round(10 * t) % 200 for t in frames.times.tolist()]


PATHS = ["linear", "pyav", "decord"]


@pytest.mark.parametrize("way", PATHS)
@pytest.mark.parametrize(
    "name", ["a.mp4", "b.mkv", "c.ts", "open_gop.mp4", "intra_refresh.mp4", "hevc.mp4", "vp9.webm"]
)
def test_every_way_reads_the_same(
    name: str, way: str, make_clip: Clip, monkeypatch: pytest.MonkeyPatch, numbers: Numbers
) -> None:
    """Decoding everything, jumping with PyAV and decord agree to the frame, in files that are small enough for all."""
    settings: dict[str, Any] = {
        "open_gop.mp4": {"options": {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}},
        "intra_refresh.mp4": {"options": {"g": "12", "x264-params": "intra-refresh=1"}},
        "hevc.mp4": {"codec": "libx265", "options": {"g": "12"}},
        "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "g": "12"}},
    }.get(name, {"options": {"g": "12", "bf": "2"}})
    path = make_clip(name, 60, **settings)
    monkeypatch.setattr(reader, "_SMALL", 1e18 if way == "linear" else 0)
    info, times, kept = read_here(path, 10, decord=way == "decord")
    pixels = torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2)
    assert info["num_frames"] == 60
    assert numbers(pixels) == [3, 9, 15, 21, 27, 33, 39, 45, 51, 57]
    assert times == pytest.approx([n / 10 for n in numbers(pixels)], abs=1e-3)


@pytest.mark.parametrize("way", PATHS)
def test_every_way_reads_the_same_places(
    way: str, make_clip: Clip, monkeypatch: pytest.MonkeyPatch, numbers: Numbers
) -> None:
    path = make_clip("a.mp4", 60, options={"g": "12", "bf": "2"})
    monkeypatch.setattr(reader, "_SMALL", 1e18 if way == "linear" else 0)
    _, times, kept = read_here(path, 4, decord=way == "decord", places=[0.0, 0.99, 0.4, 0.7])
    assert numbers(torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2)) == [0, 29, 36, 55]
    assert times == pytest.approx([0.0, 2.9, 3.6, 5.5], abs=1e-3)


def test_lying_packets_are_found_out(make_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage that only decoding can show makes the jumps give way to decoding everything."""
    path = make_clip("hurt.mp4", 60, options={"g": "10"})
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat") + len(data) // 3
    data[at : at + 400] = bytes(400)
    path.write_bytes(data)
    monkeypatch.setattr(reader, "_SMALL", 0)
    info, _, _ = read_here(path, 30, decord=False)
    monkeypatch.setattr(reader, "_SMALL", 1e18)
    assert info == read_here(path, 30, decord=False)[0]
    assert "damaged" in info["damaged"]


def test_no_time_to_decode_everything(make_clip: Clip, monkeypatch: pytest.MonkeyPatch, numbers: Numbers) -> None:
    """A stream of doubtful packets that is too long to decode still gives the nearest frames, with their own times."""
    path = make_clip("first.ts", 60, options={"g": "10"})
    path.write_bytes(path.read_bytes() * 2)  # times that start anew
    monkeypatch.setattr(reader, "_SMALL", 0)
    monkeypatch.setattr(reader, "_LINEAR_SHARE", 0.0)
    info, times, kept = read_here(path, 5, decord=False)
    pixels = torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2)
    assert info["num_frames"] == 120
    assert numbers(pixels) == pytest.approx([10 * t for t in times], abs=1)


def test_samples_move_to_key_frames_when_the_way_is_too_long(
    make_clip: Clip, monkeypatch: pytest.MonkeyPatch, numbers: Numbers
) -> None:
    path = make_clip("clip.mp4", 60, options={"g": "10", "bf": "0"})
    monkeypatch.setattr(reader, "_SMALL", 0)
    monkeypatch.setattr(reader, "_MOST", 10 * 160 * 96)
    _, times, kept = read_here(path, 3, decord=False)
    assert numbers(torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2)) == [10, 30, 50]
    assert times == pytest.approx([1.0, 3.0, 5.0])


def test_samples_become_key_frames_when_time_is_short(
    make_clip: Clip, monkeypatch: pytest.MonkeyPatch, numbers: Numbers
) -> None:
    path = make_clip("clip.mp4", 60, options={"g": "10", "bf": "0"})
    monkeypatch.setattr(reader, "_SMALL", 0)
    monkeypatch.setattr(reader, "_JUMP_SHARE", 0.0)
    _, times, kept = read_here(path, 3, decord=False)
    assert numbers(torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2)) == [10, 30, 50]
    assert times == pytest.approx([1.0, 3.0, 5.0])


def test_decord_declines_what_it_gets_wrong(make_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decord was asked to read a file that it gets wrong")

    monkeypatch.setattr(reader, "read_by_decord", refuse)
    monkeypatch.setattr(reader, "_SMALL", 0)
    mirror = [-(1 << 16), 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30]
    for path in [make_clip("mirrored.mp4", 12, matrix=mirror), make_clip("stream.ts", 12), make_clip("a.flv", 12)]:
        assert read_here(path, 2, decord=True)[0]["num_frames"] == 12
    with pytest.raises(AssertionError, match="decord was asked"):
        read_here(make_clip("plain.mp4", 12), 2, decord=True)


def read_here(
    path: Path, num_frames: int, *, decord: bool, places: list[float] | None = None
) -> tuple[dict[str, Any], list[float], list[np.ndarray]]:
    """What the worker does, in this process: files made here are not hostile."""
    kept: dict[int, np.ndarray] = {}
    request = {"path": str(path), "num_frames": num_frames, "short_side": 336, "decord": decord, "seconds": 60.0}
    request |= {"start": None, "end": None, "places": places}
    info, times, names = reader.read(
        request, lambda name, picture: kept.__setitem__(name, picture.copy()), lambda _: None
    )
    return info, times, [kept[name] for name in names]
