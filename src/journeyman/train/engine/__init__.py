"""What computes a step: the engines, their interface, and the choice between them."""
