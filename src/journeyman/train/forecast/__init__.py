"""What a run will take, told before it starts. `stage.plan` is the command."""
