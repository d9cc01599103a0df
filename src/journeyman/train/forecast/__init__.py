"""What a run will take, before it starts. The command is `stage.plan`."""
