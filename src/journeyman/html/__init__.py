"""Parts of pages that open from disk: markup nobody breaks out of, a style sheet, tables."""
