"""Fine-Tune Lab trainer: trains, evaluates and serves, and reports home over trainer protocol v1."""

__version__ = "0.1.0"
PROTOCOL = 1
