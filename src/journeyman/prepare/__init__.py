"""From a log of interactions to a dataset, with a ledger of what became of every line."""
