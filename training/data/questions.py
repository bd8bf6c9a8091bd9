"""The ways in which the training asks for a caption."""

CAPTION_QUESTIONS = (
    "What is happening in the video?",
    "Describe the video.",
    "What does the video show?",
    "What can you see?",
    "Describe what you see in one sentence.",
    "What is going on here?",
    "Give a short caption.",
    "Tell me what happens.",
)
