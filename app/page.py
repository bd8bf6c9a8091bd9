"""The page: its layout, and the wires from its buttons to app/events.py."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app.events import NO_FRAMES, View, ask_question, clear_talk, open_video
from app.examples import Example
from app.session import Sessions

TITLE = "Mug-STAN Video Chat"
SUGGESTIONS = ("What is happening in the video?", "What can be seen?", "Where does it take place?")
LONGEST_QUESTION = 1000
"""Characters of a question that its box takes."""
MOST_AT_ONCE = 24
"""Requests that may wait for the model or use it at one time, over all tabs: each holds a thread."""
CACHE_SWEEP = (600, 3600)
"""Every so many seconds, uploads older than so many seconds are deleted."""

Updates = dict[gr.components.Component, Any]


def build_page(sessions: Sessions, *, model_name: str, num_frames: int, examples: list[Example]) -> gr.Blocks:
    """Lay out the page and wire it. A tab's session is found by gradio's own random id of the tab."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=CACHE_SWEEP) as page:
        gr.HTML(f"<h1>{TITLE}</h1><p>Add a video, see what the model sees, and ask about it.</p>", elem_id="head")
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                drop = gr.File(label="Drop a video or a picture here", height=150, elem_id="drop")
                strip = gr.HTML(NO_FRAMES, elem_id="strip")
                if examples:
                    gr.HTML("<p>Or try one of these:</p>", elem_id="try")
                with gr.Row(elem_id="examples"):
                    clips = [
                        gr.Button(clip.title, elem_id=f"example-{i}", min_width=110) for i, clip in enumerate(examples)
                    ]
            with gr.Column(scale=6, min_width=320):
                talk = gr.Chatbot(
                    show_label=False,
                    height=440,
                    elem_id="talk",
                    render_markdown=False,  # see `plain`
                    feedback_options=None,
                    buttons=[],
                    placeholder="The conversation about your video appears here.",
                )
                status = gr.HTML("", elem_id="status")
                with gr.Row(elem_id="suggestions"):
                    asks = [gr.Button(text, size="sm", min_width=120) for text in SUGGESTIONS]
                with gr.Row(elem_id="ask", equal_height=True):
                    question = gr.Textbox(
                        label="Your question",
                        show_label=False,
                        container=False,
                        placeholder="Ask about the video",
                        scale=1,
                        min_width=200,
                        max_lines=4,
                        max_length=LONGEST_QUESTION,
                        elem_id="question",
                    )
                    send = gr.Button("Send", variant="primary", scale=0, min_width=84, elem_id="send")
                    stop = gr.Button("Stop", variant="stop", scale=0, min_width=84, visible=False, elem_id="stop")
                    clear = gr.Button("Clear", scale=0, min_width=84, elem_id="clear")
        gr.HTML(
            f"<p>The model ({model_name}) looks at {num_frames} frames spread evenly over the video. "
            "It does not hear sound, and it can be wrong.</p>",
            elem_id="note",
        )
        parts = {"strip": strip, "talk": talk, "status": status, "question": question}

        def shown(view: View) -> Updates:
            updates = {parts[name]: value for name, value in view.items() if name != "busy"}
            if "talk" in view:
                updates[talk] = [plain(message) for message in view["talk"]]
            if "busy" in view:
                updates |= {send: gr.update(visible=not view["busy"]), stop: gr.update(visible=view["busy"])}
            return updates

        def opened(path: Path, request: gr.Request) -> Iterator[Updates]:
            for view in open_video(sessions.enter(tab_of(request)), path):
                yield {**shown(view), drop: None}  # the box is empty again, ready for the next file

        def open_upload(path: str | None, request: gr.Request) -> Iterator[Updates]:
            if path is not None:
                yield from opened(Path(path), request)

        def open_example(clip: Example) -> Any:
            def open_it(request: gr.Request) -> Iterator[Updates]:
                yield from opened(clip.path, request)

            return open_it

        def ask_typed(text: str, request: gr.Request) -> Iterator[Updates]:
            for view in ask_question(sessions.enter(tab_of(request)), text[:LONGEST_QUESTION]):
                yield shown(view)

        def ask_suggested(text: str) -> Any:
            def ask_it(request: gr.Request) -> Iterator[Updates]:
                yield from ask_typed(text, request)

            return ask_it

        def stop_answer(request: gr.Request) -> None:
            session = sessions.find(tab_of(request))
            if session is not None:
                session.stop()

        def clear_all(request: gr.Request) -> Updates:
            return shown(clear_talk(sessions.enter(tab_of(request))))

        def leave(request: gr.Request) -> None:
            sessions.leave(tab_of(request))

        quiet = {"api_visibility": "private", "show_progress": "hidden", "trigger_mode": "multiple"}
        model = {"concurrency_id": "model", "concurrency_limit": MOST_AT_ONCE, **quiet}
        opens, answers = [drop, strip, talk, status], [talk, status, question, send, stop]
        drop.upload(open_upload, drop, opens, **model)
        for button, clip in zip(clips, examples, strict=True):
            button.click(open_example(clip), None, opens, **model)
        gr.on([send.click, question.submit], ask_typed, question, answers, **model)
        for button, text in zip(asks, SUGGESTIONS, strict=True):
            button.click(ask_suggested(text), None, answers, **model)
        stop.click(stop_answer, None, None, queue=False, **quiet)
        gr.on([clear.click, talk.clear], clear_all, None, [talk, status], queue=False, **quiet)
        page.unload(leave)
    return page


def tab_of(request: gr.Request) -> str:
    """Gradio's random id of the tab that asks."""
    return request.session_hash or ""


def plain(message: dict[str, str]) -> dict[str, str]:
    """A message that stays text: whatever a model or a user writes, no picture is loaded and no page linked.

    Without Markdown the chat window still takes text for HTML, so HTML is escaped here.
    """
    return {**message, "content": html.escape(message["content"], quote=False)}
