"""What a click does: generators from a tab's session to what its page shows. Plain data in and out, no gradio.

Each yields a dictionary of the parts of the page that change: `strip`, `notice` (HTML), `talk` (messages), `status`
(HTML), `question` (text), `busy` (an answer is on its way). A part that is not named stays as it is.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.line import Place
from app.session import BusyError, Session
from app.strip import render_notice, render_strip
from bridge import ChatError
from encoder.video import VideoError

logger = logging.getLogger(__name__)

View = dict[str, Any]

NO_FRAMES = render_notice("The frames that the model sees will appear here.")
READING = "Reading the video…"
FAULT = "Something went wrong inside the program; its log says more. Please try again, or add the video anew."
FINISHES = {
    "end": "Answered in {seconds:.1f} s.",
    "length": "Cut off at its longest length, after {seconds:.1f} s.",
    "stopped": "Stopped after {seconds:.1f} s.",
    "repetition": "Ended after {seconds:.1f} s: the model began to repeat itself.",
}


def open_video(session: Session, path: Path) -> Iterator[View]:
    """Read a file: its frames appear, a new conversation begins. One that is refused leaves what was open before it."""
    try:
        events = session.open(path)
        yield {"strip": render_notice(READING), "talk": [], "status": ""}
        for event in events:
            if isinstance(event, Place):
                yield {"strip": render_notice(waiting(event, READING))}
            else:
                yield {"strip": render_strip(event, path.name)}
    except VideoError as error:
        logger.info("a file was refused: %s", error)
        yield refused(session, str(error))
    except Exception:
        logger.exception("reading a video failed")
        yield refused(session, FAULT)


def refused(session: Session, message: str) -> View:
    """Why a file was refused, above the frames of the earlier one, whose conversation goes on."""
    earlier = "" if session.frames is None else render_strip(session.frames, session.name)
    return {"strip": render_notice(message, kind="error") + earlier, "talk": session.messages}


def ask_question(session: Session, text: str) -> Iterator[View]:
    """Answer a question, piece by piece. A question that cannot be answered goes back into its box.

    A new video, or Clear, ends it: nothing of the old conversation is shown any more.
    """
    question = text.strip()
    if not question:
        yield {"status": render_notice("Please type a question first.", kind="error")}
        return
    if session.answering:
        yield {"status": render_notice(str(BusyError()), kind="error")}
        return
    conversation, before = session.conversation, session.messages
    asked = [*before, {"role": "user", "content": question}]
    yield {"question": "", "talk": asked, "status": render_notice("Looking at the frames…"), "busy": True}
    last: View = {}
    try:
        for event in session.ask(question):
            if session.conversation != conversation:
                break
            if isinstance(event, Place):
                yield {"status": render_notice(waiting(event, "Looking at the frames…"))}
            else:
                answer = {"role": "assistant", "content": event}
                yield {"talk": [*asked, answer], "status": render_notice("Answering…")}
        else:
            last = ending(session, before, question)
    except (ChatError, BusyError) as error:
        last = given_back(session, question, render_notice(str(error), kind="error"))
    except Exception:
        logger.exception("answering failed")
        last = given_back(session, question, render_notice(FAULT, kind="error"))
    if session.conversation != conversation:  # said again: a piece of ours may have overtaken the news
        last = {"talk": session.messages, "status": ""}
    yield {**last, "busy": False}


def ending(session: Session, before: list[dict[str, str]], question: str) -> View:
    """How an answer ended. The conversation shown is the one in memory: a stopped answer as far as it got."""
    stats, talk = session.last, session.messages
    if stats is None or (len(talk) == len(before) and stats.finish == "stopped"):
        return given_back(session, question, render_notice("Stopped before the answer began."))
    if len(talk) == len(before):
        return given_back(session, question, render_notice("The model found no answer. Try other words."))
    return {"talk": talk, "status": render_notice(FINISHES[stats.finish].format(seconds=stats.seconds))}


def given_back(session: Session, question: str, status: str) -> View:
    """The conversation in memory, and the question in its box again."""
    return {"talk": session.messages, "question": question, "status": status}


def clear_talk(session: Session) -> View:
    """A new conversation about the same video."""
    try:
        session.clear()
    except Exception:
        logger.exception("clearing failed")
        return {"status": render_notice(FAULT, kind="error")}
    return {"talk": [], "status": ""}


def waiting(place: Place, otherwise: str) -> str:
    """The place in line in words, or what is being done when it is one's turn."""
    return f"Waiting: {place.ahead} ahead of you." if place.ahead else otherwise
