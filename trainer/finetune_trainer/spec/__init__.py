"""The job spec: its models, how it is parsed, and which options can be combined."""

import os

# Pydantic searches the metadata of every installed package for plugins. The trainer uses none, and the search takes
# time.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
