"""A fine-tuned model as files for other programs, compared with the trained model before they are published."""
