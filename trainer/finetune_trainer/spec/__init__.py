"""The job spec: its models, how it is read, and which options go together."""

import os

# Pydantic looks for plugins in the metadata of every installed package; the trainer uses none, and the search takes time.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
