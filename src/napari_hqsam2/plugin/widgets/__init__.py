"""Qt widgets: they show the state and pass on what the user does, nothing else."""
