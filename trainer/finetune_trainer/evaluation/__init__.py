"""Base and fine-tuned model answer the same rows."""
