"""From the rows of a dataset to optimiser steps and micro-batches."""
