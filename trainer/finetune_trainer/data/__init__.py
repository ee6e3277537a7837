"""Rows of the dataset: their tokens, the order of an epoch, and the cache of tokenized rows."""
