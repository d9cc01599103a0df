"""What an agent did: its log, the facts about each answer, the prompts, groups and splits."""
