"""Image-language models seen frame by frame."""
