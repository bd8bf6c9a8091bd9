"""The training loop and its run folder, used by every task."""
