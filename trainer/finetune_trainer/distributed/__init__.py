"""Several processes that train one model: their group, their peak memory, and checkpoints under DeepSpeed ZeRO."""
