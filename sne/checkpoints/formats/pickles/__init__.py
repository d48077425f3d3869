"""Pickles read without importing what they name: the machine that runs them, and the tensors that they describe."""
