"""Endpoints: an engine behind a Unix socket, with transformers or with vLLM."""
