"""What is no video, or means harm, ends in a message that a person understands; nothing blocks, nothing leaks."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from encoder.video import VideoError, probe, read_frames

Clip = Callable[..., Path]
Command = Callable[..., Path]


def refuse(path: Path, message: str) -> None:
    """Both doors refuse the file, with words that match `message`, in time."""
    started = time.monotonic()
    with pytest.raises(VideoError, match=message):
        read_frames(path, 4)
    with pytest.raises(VideoError, match=message):
        probe(path)
    assert time.monotonic() - started < 25


NOISE = random.Random(0).randbytes(50_000)
CONTENTS: dict[str, tuple[bytes, str]] = {
    "empty.mp4": (b"", "is empty"),
    "zeros.mp4": (bytes(5000), "nothing but zeros"),
    "random.mp4": (NOISE, "not a video"),
    "text.mp4": (b"Dear diary, today I filmed nothing.\n", "text file"),
    "utf16.mp4": ("Dear diary".encode("utf-16"), "text file"),
    "page.mp4": (b"<!DOCTYPE html>\n<html><body>403 Forbidden</body></html>", "web page"),
    "link.strm": (b"https://example.org/film.mp4\n", "link"),
    "film.pdf": (b"%PDF-1.7 ...", "PDF"),
    "film.zip": (b"PK\x03\x04" + NOISE, "ZIP"),
    "drawing.svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "stream.sdp": (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "only names"),
    "manifest.mp4": (b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>', "only names"),
    "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + NOISE, "HEIC"),
    "renamed_heic.mp4": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + NOISE, "HEIC"),
    "index_lost.mp4": (b"\0\0\0\x14ftypisom\0\0\0\0isom\0\0\xff\xffmdat" + NOISE, "not finished"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_content_that_is_no_video(name: str, tmp_path: Path) -> None:
    content, message = CONTENTS[name]
    path = tmp_path / name
    path.write_bytes(content)
    refuse(path, message)


@pytest.mark.parametrize(
    "script",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{canary}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{canary}'\n",
    ],
    ids=["playlist", "concat"],
)
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat"])
def test_playlist_reads_no_other_file(script: str, name: str, tmp_path: Path, make_clip: Clip) -> None:
    canary = make_clip("canary.ts", 30)
    os.utime(canary, (1, 1))  # long ago: any read would renew the access time where the file system keeps it
    path = tmp_path / name
    path.write_text(script.format(canary=canary))
    refuse(path, "only names videos")
    assert canary.stat().st_atime == 1


def test_file_that_is_not_there(tmp_path: Path) -> None:
    refuse(tmp_path / "missing.mp4", "does not exist")
    refuse(tmp_path / ("x" * 300 + ".mp4"), "cannot be opened")
    refuse(Path("with\0nul.mp4"), "does not exist")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nothing")
    refuse(tmp_path / "dangling.mp4", "does not exist")


def test_folder_fifo_and_device_do_not_block(tmp_path: Path) -> None:
    refuse(tmp_path, "folder")
    os.mkfifo(tmp_path / "pipe.mp4")
    refuse(tmp_path / "pipe.mp4", "pipe")
    (tmp_path / "endless.mp4").symlink_to("/dev/zero")
    refuse(tmp_path / "endless.mp4", "device")


def test_truncated_before_the_index(clip: Path) -> None:
    clip.write_bytes(clip.read_bytes()[:2000])
    refuse(clip, "not finished")


def test_header_without_media(make_clip: Clip) -> None:
    path = make_clip("head.mp4", 30, muxer_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"mdat") + 4])
    refuse(path, "no picture data")


def write_sound(path: Path, codec: str, cover: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=44100, layout="mono")
        picture = container.add_stream("mjpeg", rate=1) if cover else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame(64, 64, "yuvj420p")))
        form = stream.codec_context.format.name
        samples = np.zeros((1, 44100), np.float32 if form.startswith("flt") else np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format=form, layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec"), [("s.m4a", "aac"), ("s.wav", "pcm_s16le"), ("s.mkv", "aac"), ("s.mp4", "aac")]
)
def test_sound_only(name: str, codec: str, tmp_path: Path) -> None:
    refuse(write_sound(tmp_path / name, codec), "sound only")


def test_cover_art_is_no_video(ffmpeg: Command, tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "s.wav", "pcm_s16le")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "cover.jpg")
    inputs = ["-i", sound, "-i", tmp_path / "cover.jpg", "-map", "0", "-map", "1", "-disposition:v", "attached_pic"]
    refuse(ffmpeg(*inputs, "-c:v", "copy", "song.mp3"), "sound and a cover picture")


def test_encrypted_video(ffmpeg: Command, clip: Path) -> None:
    key = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "7" * 32, "-encryption_kid", "a" * 32]
    refuse(ffmpeg("-i", clip, "-c", "copy", *key, "locked.mp4"), "encrypted")


def test_still_picture_with_the_name_of_a_video(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "film.mp4", "JPEG")
    refuse(tmp_path / "film.mp4", "still picture")


def test_huge_pictures_are_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "bomb.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 12000, 12000, "gray"
        frame = av.VideoFrame.from_ndarray(np.zeros((12000, 12000), np.uint8), format="gray")
        packets = stream.encode(frame)
        container.mux(packets)
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="12000 x 12000"):
        read_frames(path, 4)
    Image.new("L", (12000, 12000)).save(tmp_path / "bomb.png")
    refuse(tmp_path / "bomb.png", "12000 x 12000")


NAMES = [
    "-i.mp4",
    "a b 'c' \"d\" [1].mp4",
    "视频 décès 🎬.mp4",
    "concat:x.mp4",
    "file%20name.mp4",
    "no_suffix",
    "\udcff\udcfe.mp4",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_odd_names_open(name: str, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.parent)
    clip.rename(name)
    assert read_frames(name, 2).info.num_frames == 30


def test_mutants_neither_crash_nor_hang(make_clip: Clip, tmp_path: Path) -> None:
    """Random damage gives frames or a message, and the next good file is read as ever."""
    dice = random.Random(7)
    seeds = [make_clip("a.mp4", 12), make_clip("b.mkv", 12), make_clip("c.avi", 12, codec="mpeg4", fps=25)]
    mutant = tmp_path / "mutant"
    messages = []
    for _ in range(12):
        data = bytearray(dice.choice(seeds).read_bytes())
        for _ in range(dice.choice([1, 20, 200])):
            data[dice.randrange(len(data))] = dice.randrange(256)
        mutant.write_bytes(data[: dice.choice([len(data), dice.randrange(1, len(data))])])
        try:
            assert read_frames(mutant, 2).pixels.shape[0] == 2
        except VideoError as error:
            messages.append(str(error))
    assert all(message.endswith(".") for message in messages)  # sentences, not a library's complaints
    assert read_frames(seeds[0], 2).info.num_frames == 12


def test_modules_beside_the_video_are_not_run(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of downloads may hold a numpy.py."""
    monkeypatch.chdir(clip.parent)
    for name in ("numpy.py", "av.py", "json.py"):
        Path(name).write_text("raise SystemExit(1)")
    assert read_frames(clip.name, 2).info.num_frames == 30
