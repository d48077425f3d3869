"""Fuzzing of everything that reads files: seeds, mutations, targets and a command. See docs/security.md."""
