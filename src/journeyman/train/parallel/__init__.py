"""Data parallel runs: the processes of a run and where they run."""
