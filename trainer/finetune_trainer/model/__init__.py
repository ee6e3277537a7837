"""Models on disk and in memory: checks, loading, adapters, checkpoints, scores and generation."""
