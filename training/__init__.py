"""Whatever changes or measures weights."""
