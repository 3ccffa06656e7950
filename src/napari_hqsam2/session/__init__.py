"""Interactive work on one stack: objects, prompts, runs, undo, files; no GUI."""
