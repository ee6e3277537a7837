"""Fine-Tune Lab trainer: trains, evaluates, exports and serves models, and reports over trainer protocol v1."""

__version__ = "0.1.0"
PROTOCOL = 1
