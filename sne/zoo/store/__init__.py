"""The zoo on disk: index, shards and layouts; writing, reading, verifying, merging."""
