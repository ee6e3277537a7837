"""Tool calls in a model's text: how each family of chat templates writes them, and one parser for all."""
