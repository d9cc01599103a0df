"""From measurements to a verdict: criteria, validity, claims."""
