"""What base and tuned model can do on held-out tasks, how fast, in how much memory; a verdict."""
